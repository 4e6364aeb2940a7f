#!/usr/bin/env bash
# Tables and figures of the runs of configs/sweeps/fashion_resnet20.yaml.
set -eu
here=results/fashion_resnet20
chosen=(--from-disk --root $here/runs --where status=COMPLETED)
report() { .venv/bin/python scripts/report.py "$@"; }
report table "${chosen[@]}" --by algorithm --metrics test/center/error test/center_reestimated/error \
  test/center/loss test/center_reestimated/loss --out $here
for metric in test/center/error test/center_reestimated/error; do
  report curves "${chosen[@]}" --metric $metric --axis epochs --out $here
done
report runs "${chosen[@]}" --out $here/runs.csv
.venv/bin/python $here/batch_norm.py
