"""How many objects parsing a GraphDef makes, counted before it is parsed.

An empty message takes two bytes in the file and a hundred in memory.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError

from keras_mnv2.weights.tensors import WeightsError

MAX_NODES = 50_000
MAX_FIELDS = 1_000_000

# Numbers of the fields that hold further messages (graph.proto, node_def.proto, attr_value.proto,
# tensor.proto, function.proto).
_SHAPE: dict = {}
_TENSOR = {2: _SHAPE}
_FUNCTION: dict = {}
_VALUE = {1: {7: _SHAPE, 8: _TENSOR, 9: _FUNCTION}, 7: _SHAPE, 8: _TENSOR, 10: _FUNCTION}
_ATTRIBUTES = {2: _VALUE}
_FUNCTION[2] = _ATTRIBUTES
_NODE = {5: _ATTRIBUTES}
_GRAPH = {1: _NODE, 2: {1: {3: _NODE, 5: _ATTRIBUTES}}}

_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5


def check_message_count(data: bytes, source: str) -> None:
    """Refuses a GraphDef of more nodes or fields than any network of the family has.

    Raises:
        WeightsError: if there are too many.
        DecodeError: if it is no protocol buffer.
    """
    nodes = fields = 0
    pending = [(0, len(data), _GRAPH)]
    while pending:
        start, end, inside = pending.pop()
        while start < end:
            tag, start = _varint(data, start, end)
            number, kind = tag >> 3, tag & 7
            length = {_FIXED_64: 8, _FIXED_32: 4}.get(kind, 0)
            if kind in (_VARINT, _BYTES):
                value, start = _varint(data, start, end)
                length = value if kind == _BYTES else 0
            elif not length:
                raise DecodeError(f"a field of kind {kind}")
            if length > end - start:
                raise DecodeError("a field beyond the end")
            if kind == _BYTES and number in inside:
                pending.append((start, start + length, inside[number]))
            start += length
            fields += 1
            nodes += inside is _GRAPH
            if nodes > MAX_NODES or fields > MAX_FIELDS:
                raise WeightsError(
                    f"{source}: a graph of more than {MAX_NODES:,} nodes or {MAX_FIELDS:,} fields; "
                    "no MobileNetV2 has so many"
                )


def _varint(data: bytes, start: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while start < end and shift < 70:
        byte = data[start]
        value |= (byte & 0x7F) << shift
        start += 1
        if byte < 0x80:
            return value, start
        shift += 7
    raise DecodeError("a number that does not end")
