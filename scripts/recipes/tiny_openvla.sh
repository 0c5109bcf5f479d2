#!/usr/bin/env bash
# What made the shipped tiny_openvla, as commands: scripts/recipes/tiny_openvla.sh
#
# Run it again after a stop, it goes on. About two and a half hours on two cores; the towers are those of the shipped
# tiny_oft (docs/training.md).
set -euo pipefail
cd "$(dirname "$0")/../.."

PYTHON=${PYTHON:-.venv/bin/python}
DEMOS=${DEMOS:-results/demos}
RUN=${RUN:-results/train/tiny_openvla}

collect() { # folder, options
    "$PYTHON" scripts/collect_demos.py --output "$DEMOS/$1" "${@:2}"
}

collect wide_s20 --placement wide --demos-per-task 40 --seed 20
collect official_s20 --placement official --demos-per-task 20 --seed 20
collect wide_astray --placement wide --demos-per-task 30 --seed 21 --novice astray
collect official_astray --placement official --demos-per-task 13 --seed 21 --novice astray
"$PYTHON" scripts/train_tiny.py --no-eval --model tiny_openvla --init-from vlacache/models/checkpoints/tiny_oft \
    --demos "$DEMOS"/{wide_s20,official_s20,wide_astray,official_astray} --folder "$RUN" \
    seed=0 samples=120000 init_parts=vision
echo "weights: $RUN/last"
