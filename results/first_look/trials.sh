#!/usr/bin/env bash
# The short trials behind the first look: four for each algorithm, four passes over 50,000 images, compared on 10,000
# others held out of the training set. `JOBS=2 bash results/first_look/trials.sh` makes them again, two at a time; a
# trial that is complete is not run twice.
set -eu
trial() {
  local name tag
  name=$1
  tag=first_look_trial_$(printf '%s' "$*" | tr -c 'a-z0-9' '_')
  if grep -ls "$tag" results/runs/*/run.json results/runs/*/config.yaml 2>/dev/null |
    xargs -r -n1 dirname | xargs -r -I{} grep -l '"status": "COMPLETED"' {}/run.json 2>/dev/null | grep -q .; then return; fi
  .venv/bin/python scripts/train.py with fashion_mnist lenet on_disk training.epochs=4 training.num_threads=1 \
    dataset.validation=10000 evaluation.every=4 evaluation.flatness.num_samples=0 \
    "tracking.tags=[first_look_trial,$name,$tag]" "$@"
}
export -f trial
list() {
  for lr in 0.02 0.05 0.1 0.2; do echo "sgd training.lr=$lr"; done
  for inner in 0.05 0.1; do for lr in 0.5 1.0; do echo "esgd training.lr=$lr algorithm.inner_lr=$inner"; done; done
  for lr in 0.05 0.1; do for growth in 100 10000; do echo "rsgd training.lr=$lr algorithm.coupling_growth=$growth"; done; done
  for lr in 0.05 0.1; do for rho in 0.05 0.1; do echo "sam training.lr=$lr algorithm.rho=$rho"; done; done
  for lr in 0.05 0.1; do for rho in 0.5 1.0; do echo "asam training.lr=$lr algorithm.rho=$rho"; done; done
  for lr in 0.01 0.02 0.05 0.1; do echo "swa training.lr=$lr"; done
  for lr in 0.05 0.1; do for decay in 0.99 0.999; do echo "ema training.lr=$lr algorithm.decay=$decay"; done; done
  for lr in 0.05 0.1; do for noise in 0.002 0.005; do echo "lpf training.lr=$lr algorithm.noise=$noise"; done; done
  for lr in 0.05 0.1; do for noise in 0.05 0.1; do echo "weight_noise training.lr=$lr algorithm.noise=$noise"; done; done
  for lr in 0.001 0.003; do for inner in 0.05 0.1; do echo "entropy_adam training.lr=$lr algorithm.inner_lr=$inner"; done; done
}
list | xargs -P "${JOBS:-1}" -I{} bash -c 'trial {}'
