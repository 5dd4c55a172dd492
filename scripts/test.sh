#!/usr/bin/env bash
# Makes or reuses .venv, installs, runs the tests. Arguments go to pytest.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
exec "$python" -m pytest "$@"
