"""Variables of a TensorFlow 1 checkpoint (`model.ckpt-30000.index` and its data file)."""

from __future__ import annotations

import glob
import math
import os

import tensorflow as tf

from keras_mnv2.weights.tensors import NamedTensors, WeightsError

MAX_INDEX_BYTES = 64 * 2**20


def checkpoint_prefix(path: str | os.PathLike) -> str | None:
    """The prefix of the checkpoint that `path` names, or None.

    `path` is the prefix itself, or one of the files that belong to it.
    """
    name = os.fspath(path)
    for prefix in (name, name.rpartition(".index")[0], name.rpartition(".data-")[0]):
        if prefix and os.path.isfile(f"{prefix}.index"):
            return prefix
    return None


def read_checkpoint(prefix: str | os.PathLike) -> NamedTensors:
    """Opens a checkpoint by its prefix; reads the directory, not yet the variables.

    Raises:
        WeightsError: if files are missing or cut short, or it was written by TensorFlow 2.
    """
    prefix = os.fspath(prefix)
    index, parts = f"{prefix}.index", sorted(glob.glob(f"{glob.escape(prefix)}.data-*-of-*"))
    if not os.path.isfile(index) or not parts:
        raise WeightsError(
            f"{prefix}: a checkpoint is {os.path.basename(prefix)}.index and "
            f"{os.path.basename(prefix)}.data-00000-of-00001 in one folder; one of them is missing"
        )
    if os.path.getsize(index) > MAX_INDEX_BYTES:
        raise WeightsError(f"{index}: too long for the index of a checkpoint")
    try:
        reader = tf.train.load_checkpoint(prefix)
        shapes = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
        dtypes = reader.get_variable_to_dtype_map()
    except Exception as error:  # a damaged footer also makes it run out of memory
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise WeightsError(
            f"{prefix}: not a readable TensorFlow checkpoint ({reason}); get it again"
        ) from error
    if "_CHECKPOINTABLE_OBJECT_GRAPH" in shapes:
        raise WeightsError(
            f"{prefix}: a TensorFlow 2 object checkpoint. Only those of TensorFlow 1 (slim, Object "
            "Detection API, DeepLab) are read here; save the model as .weights.h5 instead"
        )
    announced = sum(math.prod(shapes[name]) * dtypes[name].size for name in shapes)
    present = sum(os.path.getsize(part) for part in parts)
    if announced > present:
        raise WeightsError(
            f"{prefix}: the variables need {announced:,} bytes and the data has {present:,}; the "
            "file is cut short, get it again"
        )
    return NamedTensors(
        source=prefix,
        format="TensorFlow 1 checkpoint",
        shapes=shapes,
        fetch=reader.get_tensor,
    )
