#!/usr/bin/env bash
# Everything measured on one network each of SGD, Entropy-SGD, Replicated-SGD and SAM, the runs of the first look:
# `bash results/flatness/measure.sh SGD ESGD RSGD SAM` with the ids of their runs. Then the landscapes and the report.
set -eu
sgd=$1 esgd=$2 rsgd=$3 sam=$4
measured=()
last() { ls results/runs | grep -E '^[0-9]+$' | sort -n | tail -n 1; }
for run in "$sgd" "$esgd" "$rsgd" "$sam"; do
  .venv/bin/python scripts/flatness.py with on_disk all_measures run="$run" num_threads=1 local_energy.split=both \
    local_energy.num_examples=5000 'tracking.tags=[flatness]'
  measured+=("$(last)")
done
.venv/bin/python scripts/report.py flatness --from-disk "${measured[@]}" --out results/flatness
landscape() { # NAME RUNS..
  .venv/bin/python scripts/landscape.py with on_disk runs="$2" num_examples=1000 num_points="$3" num_threads=1 'tracking.tags=[flatness]'
  cp "results/runs/$(last)/figures/landscape.png" "results/flatness/$1.png"
}
landscape line "[$sgd, $rsgd]" 31
landscape plane "[$sgd, $esgd, $rsgd]" 17
landscape random "[$sgd]" 17
