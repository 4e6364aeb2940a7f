#!/usr/bin/env bash
# The short trials behind the settings of `make demo`: four for each algorithm, three passes over 50,000 images,
# compared on 10,000 others held out of the training set. `bash results/demo/trials.sh` makes them again.
set -eu
trial() {
  .venv/bin/python scripts/train.py with fashion_mnist lenet on_disk training.epochs=3 dataset.validation=10000 \
    evaluation.every=3 evaluation.flatness.num_samples=0 'tracking.tags=[demo_trial]' "$@"
}
for lr in 0.02 0.05 0.1 0.2; do trial sgd training.lr=$lr; done
for inner_lr in 0.05 0.1; do
  for lr in 0.5 1.0; do trial esgd training.lr=$lr algorithm.inner_lr=$inner_lr; done
done
trial rsgd training.lr=0.05
trial rsgd training.lr=0.1
trial rsgd training.lr=0.1 algorithm.coupling_growth=100
trial rsgd training.lr=0.1 algorithm.coupling_growth=100 algorithm.relaxation_momentum=true
