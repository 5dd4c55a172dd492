#!/usr/bin/env bash
# Makes or reuses .venv, installs, then trains SSDLite on the embedded data set `shapes`, measures
# its COCO mAP on unseen images and draws its detections. Arguments go to the training, so that
# `scripts/quickstart.sh --train-steps 2000 --run-dir runs/longer` trains another run.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

run_dir="runs/quickstart"
arguments=("$@")
for ((i = 0; i < ${#arguments[@]}; i++)); do
  if [ "${arguments[i]}" = "--run-dir" ]; then run_dir="${arguments[i + 1]}"; fi
done

"$python" -m tasks.detection.train --recipe shapes --run-dir "$run_dir" "$@"
"$python" -m tasks.detection.evaluate --run-dir "$run_dir" --split test --draw 12
