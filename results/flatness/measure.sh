#!/usr/bin/env bash
# Everything measured on one network each of SGD, Entropy-SGD, Replicated-SGD and SAM, runs of the study of five seeds:
# `bash results/flatness/measure.sh SGD ESGD RSGD SAM` with the ids of their runs. Then the landscapes and the report.
# The measurements have a folder of their own, where no other run gets a number meanwhile: the newest there is ours.
set -eu
trained=results/fashion_lenet/runs root=results/flatness/runs
sgd=$trained/$1 esgd=$trained/$2 rsgd=$trained/$3 sam=$trained/$4
measured=()
last() { ls $root | grep -E '^[0-9]+$' | sort -n | tail -n 1; }
for run in "$sgd" "$esgd" "$rsgd" "$sam"; do
  .venv/bin/python scripts/flatness.py with on_disk all_measures run="$run" num_threads=1 local_energy.split=both \
    local_energy.num_examples=5000 tracking.root=$root 'tracking.tags=[flatness]'
  measured+=("$(last)")
done
.venv/bin/python scripts/report.py flatness --from-disk --root $root "${measured[@]}" --out results/flatness
landscape() { # NAME RUNS..
  .venv/bin/python scripts/landscape.py with on_disk runs="$2" num_examples=1000 num_points="$3" num_threads=1 \
    tracking.root=$root 'tracking.tags=[flatness]'
  cp "$root/$(last)/figures/landscape.png" "results/flatness/$1.png"
}
landscape line "[$sgd, $rsgd]" 31
landscape plane "[$sgd, $esgd, $rsgd]" 17
landscape random "[$sgd]" 17
.venv/bin/python scripts/report.py runs --from-disk --root $root --out results/flatness/runs.csv
