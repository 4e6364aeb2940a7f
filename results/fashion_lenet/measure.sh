#!/usr/bin/env bash
# Tables and figures of the runs of configs/sweeps/fashion_lenet.yaml; before that the Hessian's trace and largest
# eigenvalue of every network that has not got them yet, on 1,000 training images. JOBS=2: two networks at a time.
set -eu
here=results/fashion_lenet root=results/fashion_lenet/runs
source results/unmeasured.sh
unmeasured $root | xargs -r -P "${JOBS:-1}" -I{} .venv/bin/python scripts/flatness.py with run={} 'measures=[hessian]' on_disk num_threads=1 \
  tracking.root=$root num_examples=1000
chosen=(--from-disk --root $root --where status=COMPLETED)
.venv/bin/python scripts/report.py compare "${chosen[@]}" --out $here
.venv/bin/python scripts/report.py table "${chosen[@]}" --by algorithm --against SGD \
  --metrics test/center/error test/center/loss local_energy --out $here
.venv/bin/python scripts/report.py correlate --from-disk --root $root --out $here
.venv/bin/python scripts/report.py runs "${chosen[@]}" --out $here/runs.csv
