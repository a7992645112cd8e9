#!/usr/bin/env bash
# A search on the nodes of one SLURM job:   sbatch deploy/slurm.sh search_spaces/cifar10.yaml [OPTIONS of morel_search.run]
# Run from the checkout, in an environment in which morel-search[cluster] is installed, on a file system that all nodes share.
#SBATCH --job-name=morel-search
#SBATCH --nodes=2
#SBATCH --exclusive
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
# Five minutes before the time is up SLURM sends SIGTERM: the search ends in order, and the same command with --resume continues it.
set -euo pipefail
space=${1:?usage: sbatch deploy/slurm.sh SPACE [OPTIONS of morel_search.run]}
shift

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
port=$((20000 + SLURM_JOB_ID % 20000))
address=$(srun --nodes=1 --ntasks=1 -w "$head" hostname --ip-address | awk '{print $1}'):$port

# Every node and the search must know the same token.
export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN=${RAY_AUTH_TOKEN:-$(python -c 'import secrets; print(secrets.token_hex(32))')}

trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
start=(--cpus-per-task="$SLURM_CPUS_PER_TASK" --ntasks-per-node=1)
ray=(--num-cpus="$SLURM_CPUS_PER_TASK" --block)
srun --nodes=1 --ntasks=1 -w "$head" "${start[@]}" ray start --head --node-ip-address="${address%:*}" --port="$port" "${ray[@]}" &
for _ in $(seq 60); do
    if (: > "/dev/tcp/${address%:*}/$port") 2>/dev/null; then break; fi
    sleep 2
done
others=$((${#nodes[@]} - 1))
if [ "$others" -gt 0 ]; then
    srun --nodes="$others" --ntasks="$others" --exclude="$head" "${start[@]}" ray start --address="$address" "${ray[@]}" &
fi

# Nodes that come later get trials too. A job that SLURM starts again continues its search.
again=()
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then again=(--continue); fi
python -m morel_search.run --space "$space" --address "$address" "$@" "${again[@]}" &
search=$!
trap 'kill -TERM "$search"' TERM
code=0
wait "$search" || code=$?
# A trapped signal ends the first wait early.
if kill -0 "$search" 2>/dev/null; then code=0; wait "$search" || code=$?; fi
exit "$code"
