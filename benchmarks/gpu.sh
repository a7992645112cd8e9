#!/usr/bin/env bash
# Measure trainings, attacks and verifications on this machine's GPU, piece by piece; see benchmarks/gpu.py.
#   bash benchmarks/gpu.sh                                       all pieces but the front of CIFAR-10
#   bash benchmarks/gpu.sh --train TRAIN.parquet --test TEST.parquet
# The same command continues where it was stopped. Ray is not needed.
set -euo pipefail
cd "$(dirname "$0")/.."
exec env PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" "${PYTHON:-python}" benchmarks/gpu.py "$@"
