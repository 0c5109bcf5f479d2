#!/usr/bin/env bash
# What waits for a GPU, in order of priority, on a bare machine without network (docs/gpu_backlog.md).
#
#   OUT=<folder> bash scripts/gpu_session.sh [FIRST [LAST]]
#
# Runs the steps from FIRST to LAST (default: all), each with its own time limit; one that fails does not stop the rest.
# In $OUT: <step>.json of each, and session.log with everything that was printed (few files: a lent machine returns 8).
# GPU_SESSION_DRY=1 shows the commands and runs none.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
: "${OUT:?expected OUT=<folder for the results>}"
PYTHON=${PYTHON:-python3}
first=${1:-check} last=${2:-}
export HF_HUB_OFFLINE=1 PYTHONPATH=.
mkdir -p "$OUT"
names=() results=()
is_on=0 is_over=0 failed=0

step() { # step NAME SECONDS COMMAND...
  local name=$1 seconds=$2 begin=$SECONDS code=0
  shift 2
  names+=("$name")
  [ "$name" = "$first" ] && is_on=1
  if [ "$is_on" = 0 ] || [ "$is_over" = 1 ]; then results+=("not run"); return; fi
  [ "$name" = "$last" ] && is_over=1
  printf '== %s (%s s): %s\n' "$name" "$seconds" "$(printf '%q ' "$@")"
  if [ -n "${GPU_SESSION_DRY:-}" ]; then results+=("shown"); return; fi
  timeout --signal=INT --kill-after=10 "$seconds" "$@" >"$OUT/step.log" 2>&1 || code=$?
  tail -n 20 "$OUT/step.log"
  { echo "== $name"; cat "$OUT/step.log"; } >>"$OUT/session.log"
  rm "$OUT/step.log"
  [ "$code" = 0 ] || failed=1
  results+=("exit $code after $((SECONDS - begin)) s")
}

bench() { # bench NAME SECONDS OPTION...
  step "$1" "$2" "$PYTHON" scripts/bench_latency.py --device cuda --output "$OUT/$1.json" "${@:3}"
}

modules='"torch", "timm", "tokenizers", "safetensors", "huggingface_hub", "numpy", "PIL", "pytest", "hypothesis"'
step check 45 "$PYTHON" -c "import importlib.util as u, sys; lost = [n for n in ($modules) if u.find_spec(n) is None]; \
print(sys.version, 'missing:', lost); import torch; print(torch.__version__, torch.cuda.get_device_name()); sys.exit(len(lost))"
step test_cuda 210 "$PYTHON" -m pytest -q -m gpu tests/models/test_cuda.py tests/train/test_cuda.py
bench tiny_oft 45 --repeats 5
bench openvla_oft 240 --model openvla_oft --random-weights --repeats 20
bench openvla 240 --model openvla --random-weights --calls 20 --repeats 5
bench openvla_speculative 200 --model openvla --random-weights --compare decode=speculative --arms dense --calls 20
bench cogact 240 --model cogact --random-weights --calls 20 --repeats 10
bench openvla_oft_runtime 120 --model openvla_oft --random-weights --compare runtime=eager --arms dense
bench tiny_openvla 60 --model tiny_openvla --calls 20 --repeats 5
step speculation 120 "$PYTHON" scripts/replay_speculation.py --device cuda --output "$OUT/speculation.json" \
  --episodes "${EPISODES:-vlacache/bench/data/libero_spatial_t00_i000.npz}"
step fidelity 120 "$PYTHON" scripts/replay_fidelity.py --device cuda --output "$OUT/fidelity.json"
step train 420 "$PYTHON" scripts/train_tiny.py --no-eval --device cuda --demos "${PACKS:-.packs}" --folder "$OUT/train" \
  samples=2000000 batch_size=256

echo "== summary"
for i in "${!names[@]}"; do printf '%-20s %s\n' "${names[$i]}" "${results[$i]}"; done
if [ "$is_on" = 0 ] || { [ -n "$last" ] && [ "$is_over" = 0 ]; }; then
  echo "error: expected steps in this order: ${names[*]}; got '$first' to '$last'" >&2
  exit 2
fi
exit "$failed"
