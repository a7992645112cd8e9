#!/usr/bin/env bash
# A search on the nodes of one SLURM job:   sbatch deploy/slurm.sh search_spaces/cifar10.yaml
#SBATCH --job-name=morel-search
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@300
# Five minutes before the time is up SLURM sends SIGTERM: the search ends in order, and the same command with --resume continues it.
# Run from the checkout, in an environment in which morel-search[cluster] is installed, on a file system that all nodes share.
set -euo pipefail
space=${1:?usage: sbatch deploy/slurm.sh SPACE [OPTIONS of morel_search.run]}
shift

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 20000))
address=$(srun --nodes=1 --ntasks=1 -w "$head" hostname --ip-address | awk '{print $1}'):$port

# Every node must know the same token; Ray reads it from this file (or writes one when the head starts).
export RAY_AUTH_MODE=${RAY_AUTH_MODE:-token}
[ -s "$HOME/.ray/auth_token" ] || { mkdir -p "$HOME/.ray"; (umask 077; head -c 32 /dev/urandom | xxd -p -c 64 > "$HOME/.ray/auth_token"); }

srun --nodes=1 --ntasks=1 -w "$head" \
    ray start --head --node-ip-address="${address%:*}" --port="$port" --num-cpus="$SLURM_CPUS_PER_TASK" --block &
sleep 15
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
    srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) --exclude="$head" \
        ray start --address="$address" --num-cpus="$SLURM_CPUS_PER_TASK" --block &
    sleep 15
fi

python -m morel_search.run --space "$space" --address "$address" "$@" &
search=$!
trap 'kill -TERM "$search"; wait "$search"' TERM
wait "$search"
