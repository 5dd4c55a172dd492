"""One door for all kinds of weight files; the content decides, not the extension."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from keras_mnv2.weights.archive import extracted
from keras_mnv2.weights.graph_def import read_graph_def
from keras_mnv2.weights.keras_h5 import read_h5, read_keras_archive
from keras_mnv2.weights.tensors import NamedTensors, WeightsError
from keras_mnv2.weights.tf1_checkpoint import checkpoint_prefix, read_checkpoint

_GZIP, _ZIP, _HDF5 = b"\x1f\x8b", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"


@contextmanager
def open_weights(
    path: str | os.PathLike, prefer_checkpoint: bool = False
) -> Iterator[NamedTensors]:
    """Opens any weight file that is known here.

    Args:
        path: a frozen graph, a TensorFlow 1 checkpoint (prefix or one of its files), a .tar.gz or
            folder that holds one of them, a legacy .h5, a .weights.h5 or a .keras file.
        prefer_checkpoint: what to take from an archive or folder that holds both a frozen graph
            and a checkpoint; only the latter has moving averages beside the variables.

    Raises:
        WeightsError: if there is no such file, or it is damaged or of another kind.
    """
    path = os.path.expanduser(os.fspath(path))
    prefix = None if os.path.isdir(path) else checkpoint_prefix(path)
    if prefix is not None:
        tensors = read_checkpoint(prefix)
    elif os.path.isdir(path):
        names = choose(sorted(os.listdir(path)), path, prefer_checkpoint)
        tensors = _open_chosen(Path(path), names)
    elif not os.path.isfile(path):
        raise WeightsError(f"weights={path!r}: no such file, checkpoint or registered name")
    elif _magic(path).startswith(_GZIP):

        def wanted(names: list[str]) -> list[str]:
            return choose(names, path, prefer_checkpoint)

        with extracted(path, wanted) as folder:
            tensors = _open_chosen(folder, sorted(os.listdir(folder)))
            try:
                yield replace(tensors, source=path, format=f"{tensors.format} in an archive")
            finally:
                tensors.close()
        return
    else:
        tensors = _read_file(path)
    try:
        yield tensors
    finally:
        tensors.close()


def _read_file(path: str) -> NamedTensors:
    magic = _magic(path)
    if not magic:
        raise WeightsError(f"{path}: the file is empty, get it again")
    if magic.startswith(_ZIP):
        return read_keras_archive(path)
    if magic.startswith(_HDF5):
        return read_h5(path)
    return read_graph_def(path)


def _magic(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(8)


def choose(names: Sequence[str], source: str, prefer_checkpoint: bool = False) -> list[str]:
    """Of the file names in an archive or folder, those of the weights.

    The frozen graph unless `prefer_checkpoint`: it is what the release itself runs.
    """
    graphs = [
        name
        for name in names
        if name.endswith(".pb") and PurePosixPath(name).name != "saved_model.pb"
    ]
    frozen = [name for name in graphs if "frozen" in PurePosixPath(name).name] or graphs
    indices = [
        name
        for name in names
        # A SavedModel's variables are a checkpoint, too, but of another layout.
        if name.endswith(".index") and PurePosixPath(name).parent.name != "variables"
    ]
    if indices and (prefer_checkpoint or not frozen):
        prefix = _newest(indices, source).removesuffix(".index")
        data = re.compile(re.escape(prefix) + r"\.data-\d{5}-of-\d{5}$")
        return [f"{prefix}.index", *(name for name in names if data.match(name))]
    if len(frozen) > 1:
        raise WeightsError(f"{source}: holds several graphs ({', '.join(frozen[:5])}); give one")
    if not frozen:
        raise WeightsError(
            f"{source}: holds neither a frozen graph (.pb) nor a checkpoint (.index and .data), "
            f"but {', '.join(names[:5]) or 'nothing'}"
        )
    return frozen


def _newest(indices: list[str], source: str) -> str:
    if len(indices) == 1:
        return indices[0]
    steps = {name: re.search(r"-(\d+)\.index$", name) for name in indices}
    if not all(steps.values()):
        raise WeightsError(
            f"{source}: holds several checkpoints ({', '.join(indices[:5])}); give one of them"
        )
    return max(indices, key=lambda name: int(steps[name][1]))


def _open_chosen(folder: Path, names: list[str]) -> NamedTensors:
    for name in names:
        if name.endswith(".index"):
            return read_checkpoint(folder / name.removesuffix(".index"))
    return read_graph_def(folder / names[0])
