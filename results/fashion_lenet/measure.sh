#!/usr/bin/env bash
# Tables and figures of the runs of configs/sweeps/fashion_lenet.yaml, and the Hessian's trace and largest eigenvalue of
# every network that has not got them yet, on 1,000 training images. JOBS=2: two networks at a time.
set -eu
here=results/fashion_lenet root=results/fashion_lenet/runs
measured=$(for folder in $(ls -d $root/[0-9]*); do
  grep -q '"status": "COMPLETED"' "$folder/run.json" && sed -n 's/^run: //p' "$folder/config.yaml"
done | grep -v null || true)
for folder in $(ls -d $root/[0-9]* | sort -t/ -k4 -n); do
  number=$(basename "$folder")
  if grep -q '^algorithm:' "$folder/config.yaml" && grep -q '"status": "COMPLETED"' "$folder/run.json" &&
    ! grep -qx "$number" <<<"$measured"; then echo "$number"; fi
done | xargs -r -P "${JOBS:-1}" -I{} .venv/bin/python scripts/flatness.py with run={} 'measures=[hessian]' on_disk num_threads=1 \
  tracking.root=$root num_examples=1000
report="--from-disk --root $root --where status=COMPLETED"
.venv/bin/python scripts/report.py compare $report --out $here
.venv/bin/python scripts/report.py table $report --by algorithm --against SGD --metrics test/center/error local_energy \
  test/center/loss --out $here
.venv/bin/python scripts/report.py correlate $report --out $here
