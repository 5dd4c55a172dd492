"""Weights of Keras files: legacy `.h5`, `.weights.h5`, `.keras`. No object is deserialized.

All return names `<layer>/<weight>`, e.g. `block_1_expand_BN/gamma`.
"""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator

import h5py

from keras_mnv2.weights.names import APPLICATION_LAYERS
from keras_mnv2.weights.tensors import (
    MAX_TENSOR_ELEMENTS,
    MAX_TENSORS,
    NamedTensors,
    WeightsError,
)

_MAX_ATTRIBUTE_BYTES = 2**20
MAX_MEMBER_BYTES = 256 * 2**20
MAX_CONFIG_BYTES = 4 * 2**20
# Keras nests the weights of a layer no deeper than <layer>/<scope>/<scope>/<weight>.
_MAX_DEPTH = 3
# Keras 2 calls it otherwise; everything else has kept its name.
_RENAMED = {"depthwise_kernel": "kernel"}
_BN_WEIGHTS = ("gamma", "beta", "moving_mean", "moving_variance")


def read_h5(path: str | os.PathLike) -> NamedTensors:
    """Opens a legacy `.h5` (weights or whole model) or a Keras 3 `.weights.h5`.

    Raises:
        WeightsError: if the file is damaged or holds no layers.
    """
    source = os.fspath(path)
    return _read_h5(source, source, None)


def read_keras_archive(path: str | os.PathLike) -> NamedTensors:
    """Opens the weights inside a `.keras` file; its configuration is read as JSON only."""
    source = os.fspath(path)
    try:
        with zipfile.ZipFile(path) as archive:
            weights = _member(archive, "model.weights.h5", source, MAX_MEMBER_BYTES)
            config = json.loads(_member(archive, "config.json", source, MAX_CONFIG_BYTES))
    except WeightsError:
        raise
    except Exception as error:  # zipfile, zlib and json raise many kinds on damaged files
        raise WeightsError(
            f"{source}: not a readable .keras file ({str(error)[:200]}); get it again"
        ) from error
    return _read_h5(io.BytesIO(weights), source, config)


def _member(archive: zipfile.ZipFile, name: str, source: str, max_bytes: int) -> bytes:
    if name not in archive.namelist():
        raise WeightsError(f"{source}: a .keras file holds {name}, this archive does not")
    # zipfile reads no more than the size that is announced.
    if archive.getinfo(name).file_size > max_bytes:
        raise WeightsError(f"{source}: {name} unpacks to more than {max_bytes:,} bytes")
    return archive.read(name)


def _config_input_size(config) -> tuple[int, int] | None:
    try:
        layers = config["config"]["layers"]
        shapes = [layer["config"].get("batch_shape") for layer in layers]
        height, width = next(shape for shape in shapes if shape)[1:3]
    except (KeyError, TypeError, ValueError, StopIteration, AttributeError):
        return None
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _read_h5(file, source: str, config) -> NamedTensors:
    try:
        root = h5py.File(file, "r")
    except OSError as error:
        raise WeightsError(
            f"{source}: not a readable HDF5 file ({str(error)[:200]}); get it again"
        ) from error
    try:
        group = _local(root, "model_weights") if "model_weights" in root else root
        if "layer_names" in group.attrs or "layer_names0" in group.attrs:
            layers, is_ordered = _layer_names(group)
            kind, datasets = "Keras legacy .h5", _unique(_legacy(group, layers))
            if is_ordered:
                datasets = _by_topology(datasets)
        elif "layers" in group:
            names = _stored_names(file) if config is None else _config_names(config)
            datasets = _unique(_native(_local(group, "layers"), names, source))
            kind = "Keras 3 weights"
        else:
            raise WeightsError(
                f"{source}: an HDF5 file without Keras layers (neither layer_names nor layers)"
            )
        _check_storage(datasets, source)
        if not datasets:
            raise WeightsError(f"{source}: an HDF5 file whose layers have no weights")
    except Exception as error:  # h5py raises nearly everything on damaged files
        root.close()
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(
            f"{source}: a damaged HDF5 file ({str(error)[:200]}); get it again"
        ) from error
    return NamedTensors(
        source=source,
        format=kind,
        shapes={name: tuple(dataset.shape) for name, dataset in datasets.items()},
        fetch=lambda name: datasets[name][()],
        input_size=_config_input_size(config),
        close=root.close,
    )


def _text(value) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _local(group: h5py.Group, name: str):
    """`group[name]`, unless a link would lead into another file."""
    part = group
    for step in name.split("/"):
        if not isinstance(part.get(step, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is missing, or links elsewhere")
        part = part[step]
    return part


def _unique(named: Iterator[tuple[str, h5py.Dataset]]) -> dict[str, h5py.Dataset]:
    datasets = {}
    for name, dataset in named:
        if name in datasets:
            raise ValueError(f"two weights named {name}")
        datasets[name] = dataset
    return datasets


def _legacy(group: h5py.Group, layers: list[str]) -> Iterator[tuple[str, h5py.Dataset]]:
    # Hard links can make a small file an endless tree.
    budget = iter(range(MAX_TENSORS))
    for layer in layers:
        for leaf, dataset in _datasets(group, layer, _MAX_DEPTH, budget):
            yield f"{layer}/{_RENAMED.get(leaf, leaf)}", dataset


def _layer_names(group: h5py.Group) -> tuple[list[str], bool]:
    """Names of the layers, and whether they are in the order of the network."""
    attribute = group.attrs.get_id("layer_names") if "layer_names" in group.attrs else None
    # HDF5 allocates whatever length a damaged string of variable length announces, so that only
    # those of fixed length are read, as Keras 2 wrote them.
    is_safe = (
        attribute is not None
        and attribute.dtype.kind == "S"
        and attribute.shape != (0,)
        and attribute.get_storage_size() <= _MAX_ATTRIBUTE_BYTES
    )
    if is_safe:
        return [_text(name) for name in group.attrs["layer_names"]], True
    return list(group), False


def _datasets(
    group: h5py.Group, name: str, depth: int, budget: Iterator[int]
) -> Iterator[tuple[str, h5py.Dataset]]:
    """All datasets in group `name`, with the last part of their names."""
    if depth < 0 or next(budget, None) is None:
        raise ValueError("its groups are nested too deeply, or are too many")
    part = _local(group, name)
    if isinstance(part, h5py.Group):
        for inner in part:
            yield from _datasets(part, inner, depth - 1, budget)
    else:
        yield name.partition(":")[0], part


def _native(
    layers: h5py.Group, names: dict[str, str], source: str
) -> Iterator[tuple[str, h5py.Dataset]]:
    for key in layers:
        layer = _local(layers, key)
        if "vars" not in layer or not len(layer["vars"]):
            continue
        if key not in names:
            raise WeightsError(
                f"{source}: written by a Keras that did not store layer names; load it with "
                "model.load_weights(path), or save it again with Keras 3.10 or later"
            )
        variables = _local(layer, "vars")
        weights = [_local(variables, str(index)) for index in range(len(variables))]
        leaves = _BN_WEIGHTS if len(weights) == len(_BN_WEIGHTS) else ("kernel", "bias")
        for leaf, dataset in zip(leaves, weights, strict=False):
            yield f"{names[key]}/{leaf}", dataset


def _stored_names(file: str) -> dict[str, str]:
    """Names of the layers in a `.weights.h5` file, by their keys.

    They are strings of variable length, on which HDF5 hangs or allocates gigabytes if they are
    damaged; hence another process, which can be given up.
    """
    command = [sys.executable, "-c", _READ_NAMES, file]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_READ_NAMES_SECONDS, check=True, text=True
        )
        return json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        raise WeightsError(f"{file}: a damaged HDF5 file (layer names); get it again") from error


_READ_NAMES_SECONDS = 60
# Without the working directory on the path, from which it would import.
_READ_NAMES = """
import sys
sys.path = [folder for folder in sys.path if folder]
import json
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30, 2 * 2**30))
except ImportError:
    pass
import h5py
with h5py.File(sys.argv[1], "r") as file:
    layers = {key: layer["vars"].attrs for key, layer in file["layers"].items() if "vars" in layer}
    print(json.dumps({key: str(at["name"]) for key, at in layers.items() if "name" in at}))
"""


def _config_names(config) -> dict[str, str]:
    """Names of the layers in a `.keras` file, by the keys that Keras numbers them with."""
    names: dict[str, str] = {}
    counts: dict[str, int] = {}
    try:
        layers = [
            (layer["class_name"], layer["config"]["name"]) for layer in config["config"]["layers"]
        ]
    except (KeyError, TypeError):
        return {}
    for class_name, name in layers:
        key = _KEYS.get(class_name, class_name)
        count = counts[key] = counts.get(key, -1) + 1
        names[f"{key}_{count}" if count else key] = name
    return names


# Keras writes the class of a layer in snake case.
_KEYS = {
    "BatchNormalization": "batch_normalization",
    "Conv2D": "conv2d",
    "Dense": "dense",
    "DepthwiseConv2D": "depthwise_conv2d",
}


def _check_storage(datasets: dict[str, h5py.Dataset], source: str) -> None:
    for name, dataset in datasets.items():
        is_plain = isinstance(dataset, h5py.Dataset) and dataset.dtype.kind == "f"
        if not is_plain or dataset.external is not None or dataset.is_virtual:
            raise WeightsError(f"{source}: {name} is no plain array of floating-point numbers")
        if dataset.chunks is not None and math.prod(dataset.chunks) > MAX_TENSOR_ELEMENTS:
            raise WeightsError(f"{source}: {name} is stored in pieces that are far too large")


def _by_topology(datasets: dict[str, h5py.Dataset]) -> dict[str, h5py.Dataset]:
    """Gives layers of other names those of keras.applications, by their place in the network.

    Keras itself loads these files by topology, and the oldest of them name layers otherwise.
    Files that mostly use names that we know, or have another number of layers, stay as they are.
    """
    layers = list(dict.fromkeys(name.partition("/")[0] for name in datasets))
    known = set(APPLICATION_LAYERS)
    if (
        len(layers) not in (len(known) - 1, len(known))
        or len(known & set(layers)) > len(layers) / 2
    ):
        return datasets
    renamed = dict(zip(layers, APPLICATION_LAYERS, strict=False))
    return {
        "/".join((renamed[name.partition("/")[0]], name.partition("/")[2])): dataset
        for name, dataset in datasets.items()
    }
