#!/bin/sh
# hwopt as one step of any pipeline (GitLab CI, Jenkins, make): optimise, hold against limits, keep the reports.
#
#     sh docs/examples/gate.sh models/figures/figures.onnx edge-npu 2ms build --refine 0
#
# Arguments: the model, the target, the largest latency, a folder for what is written, and then options of
# `hwopt optimize`. The exit code is hwopt's: 0 good, 1 not good enough, 2 something to mend, 3 a bug in hwopt.
# Keep the folder as an artifact, whatever the exit code.
set -eu

model=$1 target=$2 max_latency=$3 folder=$4
shift 4
mkdir -p "$folder"

code=0
hwopt optimize "$model" --target "$target" --output "$folder/model.onnx" --force --quiet "$@" || code=$?
case $code in
  0) ;;
  1) echo "gate: no plan keeps the limits that were given; the last release stays" >&2 ;;
  2) echo "gate: the call, the model or the data must be mended" >&2 ;;
  3) echo "gate: a bug in hwopt; the folder that its message names is for its developers" >&2 ;;
  130) echo "gate: interrupted; the same command goes on where it was" >&2 ;;
  *) echo "gate: ended by exit code $code" >&2 ;;
esac
[ "$code" -eq 0 ] || exit "$code"

hwopt check "$folder/model.report.json" \
  --model "$folder/model.onnx" --target "$target" --max-latency "$max_latency"
