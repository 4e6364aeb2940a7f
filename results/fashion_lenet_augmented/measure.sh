#!/usr/bin/env bash
# Table and figures of the runs of configs/sweeps/fashion_lenet_augmented.yaml.
set -eu
here=results/fashion_lenet_augmented
chosen=(--from-disk --root $here/runs --where status=COMPLETED)
.venv/bin/python scripts/report.py compare "${chosen[@]}" --out $here
.venv/bin/python scripts/report.py table "${chosen[@]}" --by algorithm --against SGD \
  --metrics test/center/error test/center/loss local_energy --out $here
.venv/bin/python scripts/report.py runs "${chosen[@]}" --out $here/runs.csv
