# Sourced by the other scripts: makes .venv beside setup.cfg, installs this project into it, and
# leaves the shell in the project's folder with its interpreter in $python.
# PYTHON names the interpreter to make it with (python3 by default; 3.10 to 3.12).

requested="${PYTHON:-}"
if [ -n "$requested" ]; then
  # A relative path means the caller's folder.
  requested="$(command -v "$requested")" || { echo "error: PYTHON=$PYTHON: no such program" >&2; exit 1; }
  case "$requested" in /*) ;; *) requested="$PWD/$requested" ;; esac
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="$PWD/.venv/bin/python"
stamp=".venv/.installed"
requirements="$(cat setup.cfg pyproject.toml)"

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true; }

if [ -n "$requested" ] && [ "$(version_of "$python")" != "$(version_of "$requested")" ]; then
  rm -rf .venv
fi
# Without the stamp an earlier installation was interrupted, perhaps before pip was there.
if [ ! -f "$stamp" ] || [ -z "$(version_of "$python")" ]; then
  base="${requested:-python3}"
  case "$(version_of "$base")" in
    3.10 | 3.11 | 3.12) ;;
    *)
      echo "error: $base is Python $(version_of "$base"): set PYTHON to Python 3.10, 3.11 or 3.12" >&2
      exit 1
      ;;
  esac
  echo "making .venv with Python $(version_of "$base")"
  "$base" -m venv --clear .venv
fi
# Installing takes minutes, so it is done again only when the requirements change.
if [ "$(cat "$stamp" 2>/dev/null)" != "$requirements" ]; then
  echo "installing keras_mnv2 and its requirements into .venv (about 4 GB, some minutes)"
  "$python" -m pip install --quiet --upgrade pip
  "$python" -m pip install --quiet --editable '.[tasks,test]'
  printf '%s' "$requirements" >"$stamp"
fi
