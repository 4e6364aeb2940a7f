#!/usr/bin/env bash
# The first look: each algorithm once, twenty passes over the 60,000 images with the best of its four trials (trials.csv),
# then the table and figures of this folder. `JOBS=2 bash results/first_look/runs.sh` makes them again, two at a time.
set -eu
xargs -P "${JOBS:-1}" -I{} bash -c '.venv/bin/python scripts/train.py with fashion_mnist lenet on_disk training.epochs=20 \
  training.num_threads=1 evaluation.every=2 evaluation.flatness.num_samples=20 "tracking.tags=[first_look]" {}' <<'RUNS'
sgd training.lr=0.05
esgd training.lr=1.0 algorithm.inner_lr=0.1
rsgd training.lr=0.1 algorithm.coupling_growth=10000
sam training.lr=0.05 algorithm.rho=0.05
asam training.lr=0.05 algorithm.rho=0.5
swa training.lr=0.05
ema training.lr=0.05 algorithm.decay=0.99
lpf training.lr=0.05 algorithm.noise=0.002
weight_noise training.lr=0.05 algorithm.noise=0.05
entropy_adam training.lr=0.003 algorithm.inner_lr=0.05
RUNS
