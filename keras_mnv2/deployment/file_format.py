"""Which format a model file has, told by its content.

This module imports the standard library alone, so that programs that are to stay small can run it
by its path (`runpy`), without the package around it, which imports TensorFlow.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import BinaryIO

LITERT_IDENTIFIER = b"TFL3"
SAVED_MODEL_FILE = "saved_model.pb"

_KERAS_MEMBERS = {"config.json", "metadata.json", "model.weights.h5"}
_BY_ENDING = {".keras": "Keras", ".tflite": "LiteRT", ".onnx": "ONNX"}
# Fields of ONNX's ModelProto, and how protobuf writes them.
_IR_VERSION, _GRAPH = 1, 7
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def format_of(path: str | os.PathLike) -> str:
    """The format of a model file or folder, whatever its name and whoever wrote it.

    A LiteRT file that is damaged behind its first bytes is still one, and so is a SavedModel:
    who opens it says what is wrong.

    Returns:
        "keras" (.keras), "saved_model", "litert" or "onnx".

    Raises:
        ValueError: if it is missing, unreadable, or none of them.
    """
    path = Path(path)
    if path.is_dir():
        if (path / SAVED_MODEL_FILE).is_file():
            return "saved_model"
        raise ValueError(f"{path} is a folder without {SAVED_MODEL_FILE}, so no SavedModel")
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    try:
        with path.open("rb") as file:
            # A flatbuffer names its schema after the four bytes of its first offset.
            if file.read(8)[4:] == LITERT_IDENTIFIER:
                return "litert"
            if _is_keras(file):
                return "keras"
            if _is_onnx(file):
                return "onnx"
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    if path.suffix in _BY_ENDING:
        raise ValueError(f"{path} is no {_BY_ENDING[path.suffix]} file, or damaged")
    raise ValueError(
        f"{path} is neither a Keras file (.keras), nor a SavedModel folder, nor a LiteRT (.tflite) "
        "or ONNX file (.onnx). What Keras loads otherwise (.h5), save as .keras first"
    )


def _is_keras(file: BinaryIO) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    try:
        with zipfile.ZipFile(file) as archive:
            return set(archive.namelist()) >= _KERAS_MEMBERS
    except zipfile.BadZipFile:
        return False


def _is_onnx(file: BinaryIO) -> bool:
    """Whether a file is a protobuf message of ONNX's fields, which have no mark, to its end."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    kinds: dict[int, int] = {}
    while file.tell() < size:
        key = _read_varint(file)
        if not key:
            return False
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            length = 0 if _read_varint(file) is not None else None
        elif kind == _BYTES:
            length = _read_varint(file)
        else:
            length = {_FIXED64: 8, _FIXED32: 4}.get(kind)
        if length is None or file.tell() + length > size:
            return False
        kinds[number] = kind
        file.seek(length, os.SEEK_CUR)
    return kinds.get(_IR_VERSION) == _VARINT and kinds.get(_GRAPH) == _BYTES


def _read_varint(file: BinaryIO) -> int | None:
    """The next number of a protobuf message, seven bits a byte; None if there is none."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None
