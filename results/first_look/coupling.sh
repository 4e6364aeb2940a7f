#!/usr/bin/env bash
# How the replicas keep their distance: twenty passes of Replicated-SGD over 50,000 images, with and without momentum in
# the rate of the relaxation, weak and strong growth; 10,000 other training images say what the center is worth.
# `JOBS=2 bash results/first_look/coupling.sh` makes them again, two at a time.
set -eu
for momentum in true false; do
  for growth in 100 10000; do echo "algorithm.relaxation_momentum=$momentum algorithm.coupling_growth=$growth"; done
done | xargs -P "${JOBS:-1}" -I{} bash -c '.venv/bin/python scripts/train.py with fashion_mnist lenet rsgd on_disk \
  training.epochs=20 training.lr=0.1 training.num_threads=1 dataset.validation=10000 evaluation.flatness.num_samples=0 \
  "tracking.tags=[first_look_coupling]" {}'
