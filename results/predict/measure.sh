#!/usr/bin/env bash
# Measures of flatness of every network of configs/sweeps/predict.yaml that has not got them yet, then this folder's
# tables and figure. `JOBS=2 bash results/predict/measure.sh` measures two at a time.
set -eu
root=results/predict/runs
measures='[local_energy, hessian, sharpness, pac_bayes, norms, margins]'
# of the top level of run.json: the attempts within have a status of their own
completed() { .venv/bin/python -c 'import json, sys; sys.exit(json.load(open(sys.argv[1]))["status"] != "COMPLETED")' "$1/run.json"; }
trained=() measured=""
for folder in $(ls -d $root/[0-9]* | sort -t/ -k4 -n); do
  of=$(sed -n "s/^run: '\{0,1\}\([0-9]*\)'\{0,1\}$/\1/p" "$folder/config.yaml")
  if grep -q '^algorithm:' "$folder/config.yaml"; then trained+=("$(basename "$folder")")
  elif [ -n "$of" ] && completed "$folder"; then measured+=" $of "; fi  # one that failed or was killed is taken again
done
for number in "${trained[@]}"; do
  if [[ $measured != *" $number "* ]]; then echo "$number"; fi
done | xargs -r -P "${JOBS:-1}" -I{} .venv/bin/python scripts/flatness.py with run={} "measures=$measures" on_disk num_threads=1 \
  tracking.root=$root num_examples=500 hessian.num_products=20 local_energy.num_examples=5000 'local_energy.sigmas=[0.3]' \
  'tracking.tags=[predict]'
.venv/bin/python scripts/report.py correlate --tag predict --from-disk --root $root --out results/predict
.venv/bin/python scripts/report.py runs --tag predict --from-disk --root $root --out results/predict/runs.csv
