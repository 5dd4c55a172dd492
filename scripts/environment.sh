# Sourced by the other scripts: makes .venv beside setup.cfg and installs this project into it.
# PYTHON names the interpreter to make it with (python3 by default; 3.10 to 3.12).

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"

python="${PYTHON:-python3}"
venv="$root/.venv"

if ! "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))'; then
  echo "error: $("$python" --version 2>&1) ($python) will not do: set PYTHON to Python 3.10, 3.11 or 3.12" >&2
  exit 1
fi
wanted="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
if [ -x "$venv/bin/python" ]; then
  found="$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' || true)"
  if [ -n "${PYTHON:-}" ] && [ "$found" != "$wanted" ]; then
    echo ".venv has Python $found, PYTHON is $wanted: making it again"
    rm -rf "$venv"
  fi
fi
if [ ! -x "$venv/bin/python" ]; then
  echo "making .venv with Python $wanted"
  "$python" -m venv "$venv"
fi

# Installing takes minutes, so it is done again only when the requirements change.
stamp="$venv/.installed"
requirements="$(cat setup.cfg pyproject.toml)"
if [ "$(cat "$stamp" 2>/dev/null)" != "$requirements" ]; then
  echo "installing keras_mnv2 and its requirements into .venv (about 4 GB, some minutes)"
  "$venv/bin/python" -m pip install --quiet --upgrade pip
  "$venv/bin/python" -m pip install --quiet --editable '.[tasks,test]'
  printf '%s' "$requirements" >"$stamp"
fi

# shellcheck disable=SC2034  # for the script that sources this one
python="$venv/bin/python"
export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-2}"
