"""One door for all kinds of weight files; the content decides, not the extension."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from keras_mnv2.weights.archive import extracted
from keras_mnv2.weights.graph_def import read_graph_def
from keras_mnv2.weights.keras_h5 import read_h5, read_keras_archive
from keras_mnv2.weights.tensors import NamedTensors, WeightsError
from keras_mnv2.weights.tf1_checkpoint import checkpoint_prefix, read_checkpoint

_MAGIC = {b"\x1f\x8b": "archive", b"PK\x03\x04": "keras", b"\x89HDF\r\n\x1a\n": "hdf5"}


@contextmanager
def open_weights(path: str | os.PathLike, use_ema: bool | None = None) -> Iterator[NamedTensors]:
    """Opens any weight file that is known here.

    Args:
        path: a frozen graph, a TensorFlow 1 checkpoint (prefix or one of its files), a .tar.gz or
            folder that holds one of them, a legacy .h5, a .weights.h5 or a .keras file.
        use_ema: see `load_weights`. Where it is given, and an archive or folder holds both a
            frozen graph and a checkpoint, the checkpoint is taken: freezing has chosen already.

    Raises:
        WeightsError: if there is no such file, or it is damaged or of another kind.
    """
    path = os.path.expanduser(os.fspath(path))
    with ExitStack() as stack:
        try:
            tensors = _open(path, use_ema is not None, stack)
        except OSError as error:
            reason = error.strerror or error
            raise WeightsError(f"{path}: cannot be read ({reason})") from error
        stack.callback(tensors.close)
        if use_ema is not None and tensors.is_frozen:
            raise WeightsError(
                f"{path}: use_ema={use_ema}, but a frozen graph holds no moving averages beside "
                "its weights, and does not tell which of both they are: give the checkpoint"
            )
        yield tensors


def kind(path: str) -> str:
    """What a path is: "checkpoint", "folder", "archive", "keras", "hdf5", else "graph".

    Raises:
        WeightsError: if there is no such file, or it is empty.
        OSError: if it cannot be read.
    """
    if os.path.isdir(path):
        return "folder"
    if checkpoint_prefix(path) is not None:
        return "checkpoint"
    if not os.path.isfile(path):
        raise WeightsError(
            f"weights={path!r}: no such file or checkpoint, nor the name of published weights "
            "where those are taken (keras_mnv2.weights.published() lists them)"
        )
    with open(path, "rb") as file:
        start = file.read(8)
    if not start:
        raise WeightsError(f"{path}: the file is empty, get it again")
    return next((name for magic, name in _MAGIC.items() if start.startswith(magic)), "graph")


def _open(path: str, prefer_checkpoint: bool, stack: ExitStack) -> NamedTensors:
    def wanted(names: Sequence[str]) -> list[str]:
        return choose(names, path, prefer_checkpoint)

    found = kind(path)
    if found == "archive":
        folder = stack.enter_context(extracted(path, wanted))
        try:
            tensors = _open_chosen(folder, files_in(folder))
        except WeightsError as error:
            # Nobody can look into the temporary folder any more.
            message = str(error).replace(f"{folder}{os.sep}", f"{path}: ")
            raise WeightsError(message) from error
        return replace(tensors, source=path, format=f"{tensors.format} in an archive")
    if found == "folder":
        return _open_chosen(Path(path), wanted(files_in(path)))
    if found == "checkpoint":
        return read_checkpoint(checkpoint_prefix(path))
    return {"keras": read_keras_archive, "hdf5": read_h5, "graph": read_graph_def}[found](path)


def files_in(folder: str | os.PathLike) -> list[str]:
    """Names of the files, not the folders, in a folder."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_file())


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
