#!/usr/bin/env bash
# Tables and figures of the runs of configs/sweeps/fashion_lenet.yaml; before that the Hessian's trace and largest
# eigenvalue of every network that has not got them yet, on 1,000 training images. JOBS=2: two networks at a time.
set -eu
here=results/fashion_lenet root=results/fashion_lenet/runs
# of the top level of run.json: the attempts within have a status of their own
completed() { .venv/bin/python -c 'import json, sys; sys.exit(json.load(open(sys.argv[1]))["status"] != "COMPLETED")' "$1/run.json"; }
trained=() measured=""
for folder in $(ls -d $root/[0-9]* | sort -t/ -k4 -n); do
  completed "$folder" || continue  # what failed or was killed is taken again
  if grep -q '^algorithm:' "$folder/config.yaml"; then trained+=("$(basename "$folder")")
  else measured+=" $(sed -n "s/^run: '\{0,1\}\([0-9]*\)'\{0,1\}$/\1/p" "$folder/config.yaml") "; fi
done
for number in "${trained[@]}"; do
  if [[ $measured != *" $number "* ]]; then echo "$number"; fi
done | xargs -r -P "${JOBS:-1}" -I{} .venv/bin/python scripts/flatness.py with run={} 'measures=[hessian]' on_disk num_threads=1 \
  tracking.root=$root num_examples=1000
chosen=(--from-disk --root $root --where status=COMPLETED)
.venv/bin/python scripts/report.py compare "${chosen[@]}" --out $here
.venv/bin/python scripts/report.py table "${chosen[@]}" --by algorithm --against SGD \
  --metrics test/center/error test/center/loss local_energy --out $here
.venv/bin/python scripts/report.py correlate --from-disk --root $root --out $here
