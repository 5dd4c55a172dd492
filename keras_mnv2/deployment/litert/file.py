"""Looks into LiteRT files: their operations, and the description that they carry."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from keras_mnv2.deployment.checksum import (
    CHECKSUM_NAME,
    NO_CHECKSUM,
    check_checksum,
    require_checksum,
    with_checksum,
)
from keras_mnv2.deployment.description import METADATA_NAME, DeploymentError, Description
from keras_mnv2.deployment.file_format import LITERT_IDENTIFIER

CUSTOM = "CUSTOM:"

_BUILTIN_NAMES = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)
}


def operators(path: str | os.PathLike) -> Counter[str]:
    """How often each operation occurs in a LiteRT file.

    Returns:
        Names of builtin operations as the schema has them, e.g. "DEPTHWISE_CONV_2D"; of others,
        "CUSTOM:" and their name, e.g. "CUSTOM:TFLite_Detection_PostProcess" or, of operations
        that need TensorFlow's kernels on the phone, "CUSTOM:FlexErf".

    Raises:
        DeploymentError: (a ValueError) if it is no LiteRT file, or damaged.
    """
    model = parse(_read(path), str(path))
    names = [operator_name(code) for code in model.operatorCodes or ()]
    numbers = [
        operator.opcodeIndex
        for graph in model.subgraphs or ()
        for operator in graph.operators or ()
    ]
    if max(numbers, default=-1) >= len(names):
        raise DeploymentError(f"{path} is damaged: it has operations without a name")
    return Counter(names[number] for number in numbers)


def read_description(path: str | os.PathLike) -> Description:
    """The description in a LiteRT file.

    Raises:
        DeploymentError: (a ValueError) if it is no LiteRT file, damaged, or has none.
    """
    content = _read(path)
    model = parse(content, str(path))
    for entry in model.metadata or ():
        if _text(entry.name) == METADATA_NAME:
            require_checksum(content, str(path))
            try:
                data = model.buffers[entry.buffer].data
                return Description.from_json(b"" if data is None else bytes(data))
            except (DeploymentError, IndexError) as error:
                raise DeploymentError(f"{path}: {error}") from error
    raise DeploymentError(
        f"{path} is a LiteRT file that keras_mnv2 did not export: it carries no description of its "
        "input and outputs"
    )


def with_description(content: bytes, description: Description) -> bytes:
    """A LiteRT file with `description` in its metadata, in place of the one it may have.

    All else, other metadata included, stays as it is, but for the checksum.
    """
    model = parse(content, "the LiteRT model")
    _set_metadata(model, METADATA_NAME, description.to_json())
    _set_metadata(model, CHECKSUM_NAME, NO_CHECKSUM)
    return with_checksum(pack(model))


def _set_metadata(model: schema.ModelT, name: str, text: str) -> None:
    entries = model.metadata or []
    entry = next((one for one in entries if _text(one.name) == name), None)
    if entry is None:
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, len(model.buffers)
        model.buffers = [*model.buffers, schema.BufferT()]
        model.metadata = [*entries, entry]
    model.buffers[entry.buffer].data = np.frombuffer(text.encode(), np.uint8)


def pack(model: schema.ModelT) -> bytes:
    """A LiteRT file of the tables that `parse` returned."""
    builder = _AlignedBuilder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=LITERT_IDENTIFIER)
    return bytes(builder.Output())


class _AlignedBuilder(flatbuffers.Builder):
    """Puts the data of every buffer at a multiple of 16 bytes, as the schema demands.

    The Python package ignores the schema's `force_align`.
    """

    def StartVector(self, elemSize, numElems, alignment):  # noqa: N802, N803
        return super().StartVector(elemSize, numElems, 16 if elemSize == 1 else alignment)


def _read(path: str | os.PathLike) -> bytes:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DeploymentError(f"{path} cannot be read: {error.strerror or error}") from error
    check_checksum(content, str(path))
    return content


def parse(content: bytes, source: str) -> schema.ModelT:
    """The tables of a LiteRT file, to be changed and packed again.

    Raises:
        DeploymentError: (a ValueError) if it is no LiteRT file, or damaged; it names `source`.
    """
    if content[4:8] != LITERT_IDENTIFIER:
        raise DeploymentError(f"{source} is no LiteRT file (.tflite)")
    try:
        # Whole, so that a truncated file is noticed: some offset then points beyond its end.
        return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    except Exception as error:  # Of a damaged file the parser raises anything.
        raise DeploymentError(f"{source} is damaged: {error}") from error


def operator_name(code: schema.OperatorCodeT) -> str:
    """What `operators` calls an operation."""
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == schema.BuiltinOperator.CUSTOM:
        return CUSTOM + _text(code.customCode)
    return _BUILTIN_NAMES.get(number, f"operation {number}")


def _text(name: bytes | str | None) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name or ""
