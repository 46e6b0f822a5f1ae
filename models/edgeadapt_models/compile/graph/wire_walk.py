"""Where each initializer's bytes lie in a serialised ONNX model: an exact walk over the protobuf wire format.

Only lengths and field numbers are read (https://protobuf.dev/programming-guides/encoding/), so an offset
found here is where the value is, never where equal bytes happen to be. Field numbers are those of onnx.proto:
ModelProto.graph = 7, GraphProto.initializer = 5, TensorProto.name = 8, TensorProto.raw_data = 9.
Interpreting the values is not here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgeadapt.errors import CompileError

_MODEL_GRAPH = 7
_GRAPH_INITIALIZER = 5
_TENSOR_NAME = 8
_TENSOR_RAW_DATA = 9

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Span:
    """`length` bytes from `offset` of the file."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """One past the last byte."""
        return self.offset + self.length


def initializer_spans(model: bytes) -> dict[str, Span]:
    """Map each initializer's name to the span of its raw_data.

    Initializers that hold their values in another field (such as float_data) are left out.

    Raises:
        CompileError: the bytes are not a protobuf message, or two initializers have one name.
    """
    spans: dict[str, Span] = {}
    for graph in _children(model, Span(0, len(model)), _MODEL_GRAPH):
        for tensor in _children(model, graph, _GRAPH_INITIALIZER):
            name, data = _tensor(model, tensor)
            if name in spans:
                raise CompileError(f"two initializers are named {name!r}")
            if data is not None:
                spans[name] = data
    return spans


def _tensor(data: bytes, span: Span) -> tuple[str, Span | None]:
    """Name and raw_data of one TensorProto; the last of repeated fields wins, as in protobuf."""
    name, raw = "", None
    for field, part in _fields(data, span):
        if field == _TENSOR_NAME:
            name = data[part.offset : part.end].decode()
        elif field == _TENSOR_RAW_DATA:
            raw = part
    return name, raw


def _children(data: bytes, span: Span, number: int) -> Iterator[Span]:
    return (part for field, part in _fields(data, span) if field == number)


def _fields(data: bytes, span: Span) -> Iterator[tuple[int, Span]]:
    """(field number, span of the payload) of every length-delimited field; others are skipped."""
    position = span.offset
    while position < span.end:
        key, position = _varint(data, position, span.end)
        number, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            _, position = _varint(data, position, span.end)
        elif wire_type == _FIXED64:
            position += 8
        elif wire_type == _FIXED32:
            position += 4
        elif wire_type == _BYTES:
            length, position = _varint(data, position, span.end)
            if position + length > span.end:
                raise CompileError(f"malformed ONNX model: field {number} ends outside its message")
            yield number, Span(position, length)
            position += length
        else:
            raise CompileError(f"malformed ONNX model: wire type {wire_type} at byte {position}")
    if position != span.end:
        raise CompileError("malformed ONNX model: a message is cut short")


def _varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Base-128 integer, least significant group first; at most 10 bytes."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise CompileError(f"malformed ONNX model: bad number at byte {position}")
