"""ONNX: one file with a dynamic batch, of standard operations only."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_mnv2.deployment.checksum import (
    CHECKSUM_NAME,
    NO_CHECKSUM,
    check_checksum,
    with_checksum,
)
from keras_mnv2.deployment.console import without_noise
from keras_mnv2.deployment.description import METADATA_NAME, DeploymentError, Description
from keras_mnv2.deployment.fixed_network import INPUT_NAME
from keras_mnv2.deployment.float_files import float_description
from keras_mnv2.deployment.onnx.packages import check_packages
from keras_mnv2.deployment.programs import Program
from keras_mnv2.deployment.running import load
from keras_mnv2.deployment.staging import Export, staged
from keras_mnv2.deployment.verification import verify

# Before the imports that fail without them, so that all are named at once.
check_packages("to export ONNX", "onnx", "onnxruntime", "tf2onnx")

import onnx  # noqa: E402
import tf2onnx  # noqa: E402

from keras_mnv2.deployment.onnx.graph import OPSET, tidy  # noqa: E402


def export_onnx(
    program: Program,
    path: str | os.PathLike,
    *,
    input_dtype: str = "float32",
    images: np.ndarray | None = None,
    min_agreement: float | None = None,
) -> Export:
    """Writes a program as an ONNX file and its description beside it, once both are proven.

    The input is `images`, RGB 0..255 [batch, height, width, 3]; outputs have the program's names.
    Batch normalizations are folded into the convolutions, and a dilated convolution is one
    operation. The file is run in onnxruntime and compared with the program before it gets its
    name.

    Args:
        program: to export; a detector's with `postprocessing` "none" or "nms".
        path: of the file, ".onnx".
        input_dtype: "float32" or "uint8", both 0..255.
        images: uint8 [B, height, width, 3] to compare file and program on, best photos of the
            kind that the file is for; by default made-up ones.
        min_agreement: that must be reached in the comparison, see
            `keras_mnv2.deployment.verification`; by default that of float32 files.

    Raises:
        DeploymentError: (a ValueError) if the program or an option does not suit the format, or
            for a file that does not give the program's answers. Nothing is written then.
    """
    description = float_description(program, "onnx", input_dtype)
    with staged(path, description) as temporary:
        model = _converted(program, input_dtype)
        tidy(model)
        _check_operators(model)
        model.producer_name, model.doc_string = METADATA_NAME, ""
        model.graph.name = program.network.name
        _describe(model, description)
        onnx.checker.check_model(model, full_check=True)
        temporary.write_bytes(with_checksum(model.SerializeToString()))
        reached = verify(program, load(temporary), description, images, min_agreement)
    operators = Counter(node.op_type for node in model.graph.node)
    return Export(Path(path), description, *reached, operators)


def operators(path: str | os.PathLike) -> Counter[str]:
    """How often each operation occurs in an ONNX file, e.g. {"Conv": 52}.

    Raises:
        DeploymentError: (a ValueError) if it is no ONNX file, or damaged.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DeploymentError(f"{path} cannot be read: {error.strerror or error}") from error
    check_checksum(content, str(path))
    return Counter(node.op_type for node in _parse(content, str(path)).graph.node)


def with_description(content: bytes, description: Description) -> bytes:
    """An ONNX file with `description` in its metadata, in place of the one it may have.

    Raises:
        DeploymentError: (a ValueError) if `content` is no ONNX file, or damaged.
    """
    model = _parse(content, "the ONNX model")
    _describe(model, description)
    return with_checksum(model.SerializeToString())


def _converted(program: Program, input_dtype: str) -> onnx.ModelProto:
    signature = [tf.TensorSpec((None, *program.description.input_size, 3), input_dtype, INPUT_NAME)]
    function = tf.function(program, input_signature=signature, autograph=False)
    try:
        with _quiet(), without_noise():
            return tf2onnx.convert.from_function(function, signature, opset=OPSET)[0]
    except Exception as error:  # tf2onnx raises errors of many types
        raise DeploymentError(f"tf2onnx failed: {error}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Only what is wrong, without what tf2onnx tells of its progress."""
    loggers = [logging.getLogger("tf2onnx"), tf.get_logger()]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _check_operators(model: onnx.ModelProto) -> None:
    foreign = sorted({node.op_type for node in model.graph.node if node.domain})
    if foreign:
        raise DeploymentError(
            f"the file would hold operations that are not of ONNX itself: {', '.join(foreign)}. "
            "Nothing was written"
        )


def _describe(model: onnx.ModelProto, description: Description) -> None:
    kept = {entry.key: entry.value for entry in model.metadata_props}
    ours = {METADATA_NAME: description.to_json(), CHECKSUM_NAME: NO_CHECKSUM}
    onnx.helper.set_model_props(model, {**kept, **ours})


def _parse(content: bytes, source: str) -> onnx.ModelProto:
    try:
        model = onnx.load_from_string(content)
    except Exception as error:  # protobuf's DecodeError is no public name
        raise DeploymentError(f"{source} is no ONNX file, or damaged: {error}") from error
    if not model.graph.node:
        raise DeploymentError(f"{source} is no ONNX file, or damaged: it holds no operation")
    return model
