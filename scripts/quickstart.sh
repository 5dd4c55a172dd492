#!/usr/bin/env bash
# Makes or reuses .venv, installs, trains SSDLite on the embedded data set `shapes`, measures its
# COCO mAP on unseen images and draws its detections.
#
#   scripts/quickstart.sh [RUN_DIR]     (runs/quickstart in the project's folder by default)
set -euo pipefail
run_dir="${1:+$(realpath -m "$1")}"
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
run_dir="${run_dir:-runs/quickstart}"

"$python" -m tasks.detection.train --recipe shapes --run-dir "$run_dir"
"$python" -m tasks.detection.evaluate --run-dir "$run_dir" --split test --draw 12
