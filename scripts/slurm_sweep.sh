#!/usr/bin/env bash
# A sweep on the nodes of a Slurm allocation, with a Ray of its own that ends with the job:
#   sbatch --nodes 4 --cpus-per-task 16 --gpus-per-node 4 --time 24:00:00 scripts/slurm_sweep.sh configs/sweeps/NAME.yaml
# Two minutes before its time is up all runs save and stop; the same command again goes on. See docs/cluster.md.
#SBATCH --job-name=sweep
#SBATCH --ntasks-per-node=1
#SBATCH --signal=B:TERM@120
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?not inside a job: start it with sbatch, from the folder of the repository}"
bin=$PWD/.venv/bin
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token
export RAY_kill_child_processes_on_worker_exit=false RAY_worker_niceness=0
export RAY_grpc_client_keepalive_time_ms=10000 RAY_grpc_client_keepalive_timeout_ms=10000
[ -s ~/.ray/auth_token ] || "$bin/ray" get-auth-token --generate >/dev/null

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
ip=$(srun --nodes 1 --ntasks 1 --nodelist "$head" hostname -I | cut -d ' ' -f 1)
address=$ip:$((20000 + SLURM_JOB_ID % 10000))  # below are the ports of Ray's workers
node=(--block --num-cpus "${SLURM_CPUS_PER_TASK:-1}" --num-gpus "${SLURM_GPUS_ON_NODE:-0}" --object-store-memory 80000000)

trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
srun --nodes 1 --ntasks 1 --nodelist "$head" --output "ray-$SLURM_JOB_ID-head.log" \
  "$bin/ray" start --head --node-ip-address "$ip" --port "${address#*:}" --include-dashboard false "${node[@]}" &
ray=$!
until "$bin/ray" status --address "$address" &>/dev/null; do  # another node is refused before the first is up
  kill -0 $ray || { echo "Ray did not start, see ray-$SLURM_JOB_ID-head.log" >&2; exit 1; }
  sleep 1
done
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
  srun --nodes $((SLURM_JOB_NUM_NODES - 1)) --ntasks $((SLURM_JOB_NUM_NODES - 1)) --exclude "$head" \
    --output "ray-$SLURM_JOB_ID-%n.log" "$bin/ray" start --address "$address" "${node[@]}" &
fi

"$bin/python" scripts/sweep.py "$@" --address "$address" &
sweep=$!
trap 'kill -TERM $sweep' TERM INT
status=0
while kill -0 $sweep 2>/dev/null; do status=0; wait $sweep || status=$?; done  # a signal ends the waiting, not the sweep
exit $status
