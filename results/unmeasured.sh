# unmeasured ROOT: numbers of the completed trainings in a folder of runs that no completed measurement there is of.
# To be sourced: the measure.sh of a study goes on where it was stopped.
# of the top level of run.json: the attempts within have a status of their own
completed() { .venv/bin/python -c 'import json, sys; sys.exit(json.load(open(sys.argv[1]))["status"] != "COMPLETED")' "$1/run.json"; }
unmeasured() {
  local folder number trained=() measured=""
  for folder in $(ls -d "$1"/[0-9]* | sort -V); do
    completed "$folder" || continue  # one that failed or was killed is taken again
    if grep -q '^algorithm:' "$folder/config.yaml"; then trained+=("$(basename "$folder")")
    else measured+=" $(sed -n "s/^run: '\{0,1\}\([0-9]*\)'\{0,1\}$/\1/p" "$folder/config.yaml") "; fi
  done
  for number in "${trained[@]}"; do
    if [[ $measured != *" $number "* ]]; then echo "$number"; fi
  done
}
