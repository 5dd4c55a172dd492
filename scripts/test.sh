#!/usr/bin/env bash
# Makes or reuses .venv, installs, runs the tests, all of them by two processes. Arguments go to
# pytest, which then runs by one.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
if [ $# -eq 0 ]; then
  # Each file by one process, since its tests share trained models and exported files.
  set -- --numprocesses 2 --dist loadfile
fi
exec "$python" -m pytest "$@"
