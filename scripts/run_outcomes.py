"""What has come of a training run, to the last bit."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np


def outcome(folder: Path) -> dict[str, np.ndarray | str]:
    """All weights of a finished run's `last.keras` and `best.keras`, and its history."""
    found: dict[str, np.ndarray | str] = {}
    for name in ("last", "best"):
        with zipfile.ZipFile(folder / f"{name}.keras") as archive:
            content = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(content) as file:

            def collect(path: str, item: object, name: str = name) -> None:
                if isinstance(item, h5py.Dataset):
                    found[f"{name}.keras/{path}"] = item[()]

            file.visititems(collect)
    found["history"] = json.dumps(json.loads((folder / "history.json").read_text()))
    return found


def differences(one: dict, other: dict) -> list[str]:
    """Names of what is not the same in two outcomes, down to the last bit."""
    return [
        name
        for name in sorted({*one, *other})
        if name not in one
        or name not in other
        or np.asarray(one[name]).tobytes() != np.asarray(other[name]).tobytes()
    ]
