#!/usr/bin/env bash
# The ten runs that made the shipped tiny_oft, as commands: scripts/recipes/tiny_oft.sh
#
# Run it again after a stop, it goes on. Hours on two cores. What is the same as then and what cannot be is said in
# docs/training.md ("The ten runs as commands"). `make train` is another recipe: one run.
set -euo pipefail
cd "$(dirname "$0")/../.."

PYTHON=${PYTHON:-.venv/bin/python}
DEMOS=${DEMOS:-results/demos}
RUNS=${RUNS:-results/train/tiny_oft_stages}
: "${VLACACHE_ASSETS_DIR:?set it to a folder of LIBERO\'s scanned assets: run 3 needs them (docs/assets.md)}"

collect() { # folder, options
    # 3: a demonstration that no start gave is left out (task 3 of libero_goal), the others are there.
    "$PYTHON" scripts/collect_demos.py --output "$DEMOS/$1" "${@:2}" || [ $? -eq 3 ]
}

demos=()
train() { # number of the run, options and numbers; begins from the averaged weights of the run before
    local number=$1 begin=()
    if [ -d "$RUNS/$number/last" ]; then return; fi
    if [ "$number" -gt 1 ]; then begin=(--init-from "$RUNS/$((number - 1))/last"); fi
    "$PYTHON" scripts/train_tiny.py --no-eval --demos "${demos[@]/#/$DEMOS/}" --folder "$RUNS/$number" "${begin[@]}" \
        "${@:2}" batch_size=32 precision=bfloat16
    # Runs 1 to 6 began with new auxiliary heads, the others with those of the run before.
    if [ "$number" -lt 6 ]; then rm -f "$RUNS/$number/heads.safetensors"; fi
}

collect wide --placement wide --demos-per-task 60 --seed 0
collect official --placement official --demos-per-task 30 --seed 0
collect wide_jitter --placement wide --demos-per-task 40 --seed 1 --jitter colour light
demos+=(wide official wide_jitter)
train 1 --stop-at 1850 seed=0 samples=120000 learning_rate=1.5e-3 keep_shares=0:0.25,0.8:0.5,0.94:1 \
    aux_weight=0.5 pointing_weight=0 eval_samples=16000 log_steps=25
train 2 --stop-at 1600 seed=1 samples=120000 learning_rate=1.2e-3 keep_shares=0:0.25,0.75:0.5,0.93:1 \
    eval_samples=15000 log_steps=25

collect official_scanned --placement official --demos-per-task 16 --seed 2 --assets auto --render reference
demos+=(official_scanned)
train 3 seed=2 samples=76000 learning_rate=9e-4 keep_shares=0:0.25,0.72:0.5,0.94:1 eval_samples=15200 \
    log_steps=25

collect official_cabinet --placement official --tasks 4 9 --demos-per-task 70 --seed 4
demos+=(official_cabinet)
train 4 seed=3 samples=24000 learning_rate=5e-4 keep_shares=0:0.25,0.5:0.5,0.85:1 eval_samples=24000 \
    log_steps=25

collect wide_ramekin --placement wide --tasks 1 5 --demos-per-task 60 --seed 5
collect wide_led --placement wide --tasks 1 5 4 --demos-per-task 40 --seed 6 --novice "$RUNS/4/last"
collect official_led --placement official --tasks 4 9 --demos-per-task 30 --seed 7 --novice "$RUNS/4/last"
demos+=(wide_ramekin wide_led official_led)
train 5 seed=5 samples=26000 learning_rate=6e-4 keep_shares=0:0.25,0.45:0.5,0.85:1 eval_samples=26000 \
    log_steps=25

# All three suites. The demonstrations of libero_spatial are those of tiny_openvla, whose towers are run 5's.
# wide_weak is the last of them that it collects: 5 tasks, 12 each.
if ! grep -qs '"total_episodes": 60,' "$DEMOS/wide_weak/meta/info.json"; then
    echo "next, to collect six more folders; then this script again:"
    printf '%q ' env "PYTHON=$PYTHON" "DEMOS=$DEMOS" "TOWERS=$RUNS/5/last" scripts/recipes/tiny_openvla.sh
    echo
    exit 0
fi
collect goal --suite libero_goal --placement official --demos-per-task 13 --seed 30
collect goal_b --suite libero_goal --placement official --tasks 4 5 6 7 8 9 --demos-per-task 25 --seed 31
collect goal_c --suite libero_goal --placement official --tasks 0 1 2 3 --demos-per-task 8 --seed 32
collect object --suite libero_object --placement official --demos-per-task 25 --seed 30
demos=(goal goal_b goal_c object wide_s20 official_s20 vla_wide_led vla_official_led official_weak wide_weak)
train 6 --stop-at 800 seed=7 samples=56000 learning_rate=1e-3 turn_repeats=4 keep_shares=0:0.25,0.6:0.5,0.9:1 \
    eval_samples=14000

collect official_scanned_s33 --placement official --demos-per-task 3 --seed 33 --assets auto --render reference
demos+=(official_scanned_s33 official_scanned_s33 official_scanned_s33) # three times an epoch
train 7 seed=8 samples=30000 learning_rate=7e-4 turn_repeats=4 keep_shares=0:0.25,0.45:0.5,0.85:1 \
    eval_samples=10000

# What run 7 was weak in; half of it shown from where its mistakes lead.
collect goal_d --suite libero_goal --placement official --tasks 0 2 6 --demos-per-task 25 --seed 43
collect official_scanned_s44 --placement official --tasks 4 --demos-per-task 12 --seed 44 --assets auto --render reference
collect official_cabinet_s40 --placement official --tasks 4 9 --demos-per-task 55 --seed 40
collect official_cabinet_led --placement official --tasks 9 4 --demos-per-task 15 --seed 41 --novice "$RUNS/7/last"
collect wide_ramekin_s42 --placement wide --tasks 1 4 5 --demos-per-task 60 --seed 42
collect wide_ramekin_led --placement wide --tasks 1 4 5 --demos-per-task 25 --seed 45 --novice "$RUNS/7/last"
collect wide_3 --placement wide --tasks 3 --demos-per-task 30 --seed 46
demos=(goal goal_b goal_c goal_d object wide_s20 official_s20 vla_wide_led vla_official_led official_weak wide_weak
    official_scanned_s33 official_scanned_s33 official_scanned_s44
    official_cabinet_s40 official_cabinet_s40 official_cabinet_led official_cabinet_led # twice an epoch
    wide_ramekin_s42 wide_ramekin_s42 wide_ramekin_led wide_ramekin_led wide_3)
train 8 --stop-at 896 seed=9 samples=56000 learning_rate=8e-4 turn_repeats=4 keep_shares=0:0.25,0.5:0.5,0.88:1 \
    eval_samples=14000

collect goal_led --suite libero_goal --placement official --tasks 0 2 --demos-per-task 40 --seed 50 \
    --novice "$RUNS/7/last"
collect goal_led_6 --suite libero_goal --placement official --tasks 6 --demos-per-task 30 --seed 51 \
    --novice "$RUNS/7/last"
collect goal_led_2 --suite libero_goal --placement official --tasks 2 --demos-per-task 40 --seed 52 \
    --novice "$RUNS/7/last"
demos+=(goal_led goal_led_6 goal_led_2)
train 9 seed=10 samples=32000 learning_rate=7e-4 turn_repeats=4 grip_repeats=2 \
    keep_shares=0:0.25,0.3:0.5,0.84:1 eval_samples=16000

# What run 9 was weak in, from where its mistakes lead; then cabinet and stove of another draw than the objects.
collect official_4_7 --placement official --tasks 4 7 --demos-per-task 35 --seed 60
collect official_led_9 --placement official --tasks 4 7 9 --demos-per-task 15 --seed 61 --novice "$RUNS/9/last"
collect wide_4_7_8_1 --placement wide --tasks 4 7 8 1 --demos-per-task 30 --seed 62
collect wide_led_9 --placement wide --tasks 4 7 8 1 --demos-per-task 15 --seed 63 --novice "$RUNS/9/last"
collect goal_e --suite libero_goal --placement official --tasks 5 0 --demos-per-task 20 --seed 64
collect goal_led_9 --suite libero_goal --placement official --tasks 0 5 --demos-per-task 20 --seed 65 \
    --novice "$RUNS/9/last"
collect official_apart --placement official --tasks 4 7 9 --demos-per-task 40 --seed 70 --jitter fixtures
collect official_apart_led --placement official --tasks 4 7 9 --demos-per-task 20 --seed 72 --jitter fixtures \
    --novice "$RUNS/9/last"
collect official_apart_others --placement official --tasks 0 1 2 3 5 6 8 --demos-per-task 8 --seed 71 --jitter fixtures
demos+=(official_4_7 official_led_9 official_led_9 wide_4_7_8_1 wide_led_9 wide_led_9 goal_e goal_e goal_led_9 goal_led_9
    official_apart official_apart official_apart_led official_apart_led official_apart_others)
train 10 seed=12 samples=26000 learning_rate=7e-4 turn_repeats=4 grip_repeats=2 \
    keep_shares=0:0.25,0.3:0.5,0.84:1 eval_samples=26000
echo "weights: $RUNS/10/last"
