#!/usr/bin/env bash
# Measures of flatness of every network of configs/sweeps/predict.yaml that has not got them yet, then this folder's
# tables and figure. `JOBS=2 bash results/predict/measure.sh` measures two at a time.
set -eu
root=results/predict/runs
measures='[local_energy, hessian, sharpness, pac_bayes, norms, margins]'
source results/unmeasured.sh
unmeasured $root | xargs -r -P "${JOBS:-1}" -I{} .venv/bin/python scripts/flatness.py with run={} "measures=$measures" on_disk num_threads=1 \
  tracking.root=$root num_examples=500 hessian.num_products=20 local_energy.num_examples=5000 'local_energy.sigmas=[0.3]' \
  'tracking.tags=[predict]'
.venv/bin/python scripts/report.py runs --tag predict --from-disk --root $root --out results/predict/runs.csv
.venv/bin/python results/predict/fit.py
.venv/bin/python scripts/report.py correlate --tag predict --from-disk --root $root --out results/predict
.venv/bin/python scripts/report.py correlate --tag predict --from-disk --root $root --target gap --out results/predict/gap
