"""What is written beside an imported model: its label map, and where its weights are from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import keras

from keras_mnv2.weights.download import sha256
from keras_mnv2.weights.importing import LoadReport, model_info
from keras_mnv2.weights.labels import label_map
from keras_mnv2.weights.opening import choose, files_in, kind
from keras_mnv2.weights.registry import entry_of_file
from keras_mnv2.weights.tf1_checkpoint import checkpoint_prefix


def label_file(
    model: keras.Model,
    report: LoadReport,
    path: str | os.PathLike,
    names: Sequence[str] | None = None,
    prefer_checkpoint: bool = False,
) -> tuple[dict, str]:
    """The content of an imported model's label file.

    Args:
        model: that was filled.
        report: of its loading.
        path: of the weight file.
        names: of the classes in the order of the model's labels; None for those that the class
            count suggests.
        prefer_checkpoint: what was taken of a folder that holds a graph and a checkpoint.

    Returns:
        The content for JSON, and a line that says where the names are from. `labels` is None
        where there are none; `category_ids`, for SSDLite, are columns of the file's class logits,
        which is how the Object Detection API numbers categories.

    Raises:
        ValueError: if there are more or fewer names than classes.
    """
    family, outputs = report.file.family, model_info(model).outputs
    background = 1 if family == "SSDLite" else 0
    columns = report.columns or range(outputs or 0)
    numbers = list(columns)[background:]
    if names is not None and len(names) != len(numbers):
        raise ValueError(f"{len(names)} names were given for {len(numbers)} classes")
    remark = "labels: as given"
    if names is None:
        names, remark = _assumed(report, [number - background for number in numbers])
    entry = entry_of_file(Path(path).name)
    files = _files(path, prefer_checkpoint)
    content = {
        "labels": None if names is None else list(names),
        "family": family,
        "input_size": list(model.input_shape[1:3]),
        "source": os.path.basename(path),
        "sha256": {file.name: sha256(file) for file in files},
        "published": None if entry is None else asdict(entry),
    }
    if family == "SSDLite":
        content["category_ids"] = [int(number) for number in numbers]
    return content, remark


def _assumed(report: LoadReport, file_labels: Sequence[int]) -> tuple[list[str] | None, str]:
    """Names of labels of the file, as far as its family and class count suggest them."""
    info = report.file
    if info.family == "MobileNetV2":
        return None, "labels: none are known for a classifier; give --labels"
    known = label_map(info.family, info.classes) if report.columns is not None else None
    names = [(known or {}).get(label, f"class {label}") for label in file_labels]
    if known is None:
        return names, "labels: no names are known for these classes; give --labels"
    data_set = "COCO" if info.family == "SSDLite" else "PASCAL VOC"
    return names, (
        f"labels: the names of {data_set} are assumed, because the file has {info.classes} "
        "classes; if it is of other classes, give --labels"
    )


def _files(path: str | os.PathLike, prefer_checkpoint: bool) -> list[Path]:
    path = os.path.expanduser(os.fspath(path))
    found = kind(path)
    if found == "folder":
        names = choose(files_in(path), path, prefer_checkpoint)
        return [Path(path, name) for name in names]
    if found == "checkpoint":
        prefix = Path(checkpoint_prefix(path))
        return sorted(
            file
            for file in prefix.parent.iterdir()
            if file.name.startswith((f"{prefix.name}.index", f"{prefix.name}.data-"))
        )
    return [Path(path)]
