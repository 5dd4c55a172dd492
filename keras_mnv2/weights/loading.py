"""The one door through which `weights=` of every builder goes."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import keras

from keras_mnv2.weights import registry
from keras_mnv2.weights.download import (
    cache_errors,
    cache_folder,
    fetch,
    read_record,
    sha256,
    temporary_beside,
    write_record,
)
from keras_mnv2.weights.importing import LoadReport, canonical_arrays, import_tensors, model_info
from keras_mnv2.weights.inspection import inspect_tensors
from keras_mnv2.weights.legacy_h5_writer import write_legacy_h5
from keras_mnv2.weights.opening import kind, open_weights
from keras_mnv2.weights.tensors import WeightsError

_logger = logging.getLogger("keras_mnv2")


def load_weights(
    model: keras.Model,
    weights: str | os.PathLike,
    *,
    use_ema: bool | None = None,
    skip_head: bool = False,
    class_columns: Sequence[int] | None = None,
) -> LoadReport:
    """Loads published or own weights into a MobileNetV2, SSDLite or DeepLabV3 model.

    All or nothing: every weight of the model is assigned and every tensor of the file has its
    place, or there is one error and the model is as it was. Two exceptions: a class head for
    another number of classes keeps its own values, which is said in a warning on the logger
    `keras_mnv2` and in the report; and a backbone without top takes its part out of any file
    that has it (DeepLabV3's files lack the last convolution, which only DeepLabV3 can do without).

    Where classes do not correspond one to one:

    - slim's classifiers have a background in front of ImageNet's 1,000 classes; it is dropped.
    - 90-class detectors of the Object Detection API number COCO classes by category id; a model
      with 80 classes takes those 80 that exist, in their order, which is the label of COCO data
      sets. A model with 90 classes takes them as they are (label = category id - 1).

    Args:
        model: as its builder returns it. Load before adding layers: their weights would be
            missing in the file.
        weights: a registered name ("imagenet", "coco", "pascal_voc", "pascal_voc_trainval"; the
            file is chosen by the model and kept in the Keras cache) or a path: of a frozen graph
            (.pb), a TensorFlow 1 checkpoint (prefix or folder), a released .tar.gz/.tgz, a
            keras.applications .h5, a .weights.h5 or a .keras file.
        use_ema: which to take where a checkpoint holds exponential moving averages beside the
            variables: True the averages, False the variables. None takes averages where there
            are any, as the original evaluations did. A frozen graph holds one of both and does
            not tell which: with True or False it is refused, and of an archive that has both a
            graph and a checkpoint the checkpoint is taken.
        skip_head: leaves the class head as it is even if it would fit.
        class_columns: columns of the file's class logits that the model's classes take, in order
            (1 is "person" in a COCO detector, whose column 0 is the background).

    Returns:
        A report of what was loaded, skipped and ignored.

    Raises:
        WeightsError: (a ValueError) if the file cannot be read or does not fit; it lists what is
            missing, left over or of another shape. The model is unchanged.
    """
    if is_registered(weights):
        weights = _file_for(model, weights, convert=use_ema is None)
    with open_weights(weights, use_ema) as tensors:
        report = import_tensors(
            model, tensors, use_ema=use_ema, skip_head=skip_head, class_columns=class_columns
        )
    _logger.log(logging.WARNING if report.skipped else logging.INFO, "%s", report)
    return report


def check_weights(weights: str | os.PathLike) -> None:
    """Looks whether `load_weights` will find something; loads and downloads nothing.

    Raises:
        WeightsError: if that is neither a registered name nor a file, checkpoint or folder, or
            the file is empty.
    """
    if not is_registered(weights):
        kind(os.path.expanduser(os.fspath(weights)))


def is_registered(weights: str | os.PathLike) -> bool:
    """Whether that is the name of published weights, not a path."""
    return isinstance(weights, str) and weights in registry.names()


def cached_file(entry: registry.PublishedWeights) -> Path:
    """The published file in the Keras cache, downloaded where it is not there yet.

    Raises:
        WeightsError: if it cannot be had, or is not what `entry` says.
    """

    def check(path: Path) -> None:
        with open_weights(path) as tensors:
            info = inspect_tensors(tensors)
        found = (info.family, info.alpha, info.divisor, info.classes)
        wanted = (entry.family, entry.alpha, entry.divisor, entry.classes)
        if found != wanted or info.unknown:
            raise WeightsError(
                f"{path} is {info.summary()} with {len(info.unknown)} unknown variables, not what "
                f"{entry.name!r} should be"
            )

    return fetch(entry, check, cache_folder())


def _file_for(model: keras.Model, name: str, convert: bool) -> Path:
    shape = model.input_shape
    size = tuple(shape[1:3]) if isinstance(shape, tuple) and len(shape) == 4 else None
    entry = registry.select(name, model_info(model), size)
    path = cached_file(entry)
    return path if path.suffix == ".h5" or not convert else _converted(path, entry)


def _converted(path: Path, entry: registry.PublishedWeights) -> Path:
    """The archive's weights as an .h5 file beside it, written at the first load."""
    target = path.with_name(f"{path.name}.h5")
    record = read_record(path)
    if target.is_file() and record.get("converted_sha256") == sha256(target):
        return target
    with open_weights(path) as tensors:
        arrays = canonical_arrays(tensors)
    with cache_errors(target.parent), temporary_beside(target) as temporary:
        write_legacy_h5(temporary, arrays, published=json.dumps(asdict(entry)))
        digest = sha256(temporary)
        os.replace(temporary, target)
        write_record(path, {**record, "converted_sha256": digest})
    return target
