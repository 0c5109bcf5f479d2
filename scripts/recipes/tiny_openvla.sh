#!/usr/bin/env bash
# The four runs that made the shipped tiny_openvla, as commands: scripts/recipes/tiny_openvla.sh
#
# Run it again after a stop, it goes on. About three hours on two cores. The towers are those of run 5 of
# scripts/recipes/tiny_oft.sh. What was stopped by hand then is said in docs/training.md.
set -euo pipefail
cd "$(dirname "$0")/../.."

PYTHON=${PYTHON:-.venv/bin/python}
DEMOS=${DEMOS:-results/demos}
RUNS=${RUNS:-results/train/tiny_openvla_stages}
TOWERS=${TOWERS:-results/train/tiny_oft_stages/5/last}

collect() { # folder, options
    # 3: a demonstration that no start gave is left out (task 3 of libero_goal), the others are there.
    "$PYTHON" scripts/collect_demos.py --output "$DEMOS/$1" "${@:2}" || [ $? -eq 3 ]
}

demos=()
train() { # number of the run, options and numbers
    local number=$1
    if [ -d "$RUNS/$number/last" ]; then return; fi
    "$PYTHON" scripts/train_tiny.py --no-eval --model tiny_openvla --demos "${demos[@]/#/$DEMOS/}" \
        --folder "$RUNS/$number" "${@:2}"
}

collect wide_s20 --placement wide --demos-per-task 40 --seed 20
collect official_s20 --placement official --demos-per-task 20 --seed 20
collect wide_astray --placement wide --demos-per-task 30 --seed 21 --novice astray
collect official_astray --placement official --demos-per-task 12 --seed 21 --novice astray
demos+=(wide_s20 official_s20 wide_astray official_astray)
train 1 --init-from "$TOWERS" init_parts=vision seed=0 samples=120000 turn_repeats=1 \
    eval_samples=20000

collect vla_wide_led --placement wide --demos-per-task 7 --seed 22 --novice "$RUNS/1/last" --frame-stride 2
collect vla_official_led --placement official --demos-per-task 4 --seed 22 --novice "$RUNS/1/last" --frame-stride 2
demos+=(vla_wide_led vla_official_led vla_wide_led vla_official_led vla_wide_led vla_official_led) # three times an epoch
train 2 --init-from "$RUNS/1/last" seed=1 samples=40000 learning_rate=8e-4 keep_shares=0:0.25,0.5:0.5,0.88:1 \
    turn_repeats=1 eval_samples=40000

collect official_weak --placement official --tasks 6 9 4 --demos-per-task 27 --seed 23
collect wide_weak --placement wide --tasks 1 2 4 7 8 --demos-per-task 12 --seed 23
collect official_weak_led --placement official --tasks 6 9 4 --demos-per-task 10 --seed 25 --novice "$RUNS/2/last" \
    --frame-stride 2
first=(wide_s20 official_s20 wide_astray official_astray vla_wide_led vla_official_led official_weak wide_weak)
demos=("${first[@]}" official_weak_led official_weak_led official_weak_led official_weak)
train 3 --init-from "$RUNS/2/last" seed=2 samples=32000 learning_rate=8e-4 keep_shares=0:0.25,0.55:0.5,0.9:1 \
    turn_repeats=1 eval_samples=32000

demos=("${first[@]}" official_weak_led)
train 4 --init-from "$RUNS/3/last" seed=3 samples=48000 learning_rate=1e-3 keep_shares=0:0.25,0.6:0.5,0.9:1 \
    turn_repeats=8 eval_samples=12000
echo "weights: $RUNS/4/last"
