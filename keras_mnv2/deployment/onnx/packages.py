"""The packages of the extra `onnx`, which not everybody has."""

from __future__ import annotations

import importlib.util


def check_packages(purpose: str, *names: str) -> None:
    """Raises ImportError, which names all that are missing, unless packages are installed.

    Args:
        purpose: what they are for, as in "to export ONNX".
        names: of the packages, by which they are both imported and installed.
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ImportError(
            f"{', '.join(missing)} {verb} not installed: {purpose}, pip install "
            f"{' '.join(missing)}, or the extra that has all of them, 'keras_mnv2[onnx]'"
        )
