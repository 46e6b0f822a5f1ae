"""A `Program` as the bytes of a `.tflite` file, and where each constant lies in them.

The file is packed with the schema that ships with LiteRT. Offsets are read back from the finished file by
walking its tables, so an offset is where the value is, never where equal bytes happen to be. Data is aligned
to 16 bytes, as the schema asks (`force_align`) and as LiteRT's kernels expect.
Format: https://ai.google.dev/edge/litert (schema.fbs); version 3, identifier "TFL3".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeadapt.errors import CompileError
from edgeadapt_models.compile.graph.wire_walk import Span
from edgeadapt_models.compile.tflite.file.program import Operator, Program, Quantisation, Subgraph, Tensor

_VERSION = 3
_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16
_LARGEST_OLD_CODE = 127
_TYPES: dict[str, int] = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "bool": schema.TensorType.BOOL,
}


@dataclass(frozen=True, slots=True)
class TfliteFile:
    """The bytes of a model.

    Attributes:
        data: the file.
        constants: where each constant's bytes lie, by key.
        scales: where each quantisation's scales lie (float32), by key.
    """

    data: bytes
    constants: Mapping[str, Span]
    scales: Mapping[str, Span]


def serialise(program: Program) -> TfliteFile:
    """Write the file.

    Raises:
        CompileError: the model is larger than 2 GiB, or a tensor is of a type that LiteRT has no name for.
    """
    size = sum(value.nbytes for value in program.constants.values())
    if size >= 2**31 - 2**24:
        raise CompileError(f"the model holds {size} bytes of weights; a .tflite file can hold 2 GiB")
    packer = _Packer(program)
    builder = flatbuffers.Builder(size + (1 << 16))
    builder.Finish(packer.model().Pack(builder), file_identifier=_IDENTIFIER)
    data = bytes(builder.Output())
    root = schema.Model.GetRootAs(data)
    return TfliteFile(data, _constant_spans(root, packer.buffers), _scale_spans(root, program))


class _Buffer(schema.BufferT):  # type: ignore[misc]
    """A buffer whose data is aligned; the generated code aligns bytes to one."""

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802
        offset = None
        if self.data is not None:
            length = len(self.data)
            builder.StartVector(1, length, _ALIGNMENT)
            builder.head -= length
            builder.Bytes[builder.head : builder.head + length] = self.data
            offset = builder.EndVector()
        schema.BufferStart(builder)
        if offset is not None:
            schema.BufferAddData(builder, offset)
        end: int = schema.BufferEnd(builder)
        return end


class _Scales(schema.QuantizationParametersT):  # type: ignore[misc]
    """Quantisation that several tensors point to: packed once."""

    packed: int | None = None

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802
        if self.packed is None:
            self.packed = super().Pack(builder)
        return self.packed


class _Packer:
    """Builds the schema's objects for one program."""

    def __init__(self, program: Program) -> None:
        self._program = program
        used = {t.constant for subgraph in program.subgraphs for t in subgraph.tensors if t.constant}
        # Buffer 0 is empty by convention: it stands for "no constant".
        self.buffers = {key: index for index, key in enumerate(sorted(used), start=1)}
        self._codes: dict[tuple[int, int], int] = {}
        self._scales: dict[str, _Scales] = {}

    def model(self) -> Any:
        model = schema.ModelT()
        model.version = _VERSION
        model.description = "edgeadapt"
        model.buffers = [_Buffer(), *(_buffer(self._program.constants[key]) for key in self.buffers)]
        model.subgraphs = [self._subgraph(subgraph) for subgraph in self._program.subgraphs]
        model.operatorCodes = [_operator_code(*code) for code in self._codes]
        model.signatureDefs = [
            _signature(subgraph, index) for index, subgraph in enumerate(self._program.subgraphs)
        ]
        return model

    def _subgraph(self, subgraph: Subgraph) -> Any:
        packed = schema.SubGraphT()
        packed.name = subgraph.name
        packed.tensors = [self._tensor(tensor) for tensor in subgraph.tensors]
        packed.inputs = list(subgraph.inputs.values())
        packed.outputs = list(subgraph.outputs.values())
        packed.operators = [self._operator(operator) for operator in subgraph.operators]
        return packed

    def _tensor(self, tensor: Tensor) -> Any:
        code = _TYPES.get(tensor.dtype.name)
        if code is None:
            raise CompileError(
                f"tensor {tensor.name!r} is {tensor.dtype.name}; LiteRT takes {', '.join(_TYPES)}"
            )
        packed = schema.TensorT()
        packed.name, packed.type, packed.hasRank = tensor.name, code, True
        packed.shape = np.array(tensor.shape, np.int32)
        packed.buffer = self.buffers[tensor.constant] if tensor.constant else 0
        if tensor.quantisation is not None:
            key = tensor.quantisation.key
            packed.quantization = self._scales.setdefault(key, _scales(tensor.quantisation))
        return packed

    def _operator(self, operator: Operator) -> Any:
        packed = schema.OperatorT()
        code = (operator.code, operator.version)
        packed.opcodeIndex = self._codes.setdefault(code, len(self._codes))
        packed.inputs, packed.outputs = list(operator.inputs), list(operator.outputs)
        if operator.options is not None:
            name = type(operator.options).__name__.removesuffix("T")
            packed.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            packed.builtinOptions = operator.options
        return packed


def _buffer(value: np.ndarray[Any, Any]) -> _Buffer:
    little_endian = value.astype(value.dtype.newbyteorder("<"), copy=False)
    return _Buffer(data=little_endian.tobytes())


def _scales(quantisation: Quantisation) -> _Scales:
    packed = _Scales()
    packed.scale = quantisation.scales.astype(np.float32)
    packed.zeroPoint = quantisation.zero_points.astype(np.int64)
    packed.quantizedDimension = quantisation.axis
    return packed


def _operator_code(code: int, version: int) -> Any:
    packed = schema.OperatorCodeT()
    packed.builtinCode, packed.version = code, version
    packed.deprecatedBuiltinCode = min(code, _LARGEST_OLD_CODE)
    return packed


def _signature(subgraph: Subgraph, index: int) -> Any:
    packed = schema.SignatureDefT()
    packed.signatureKey, packed.subgraphIndex = subgraph.name, index
    packed.inputs = [_name(*item) for item in subgraph.inputs.items()]
    packed.outputs = [_name(*item) for item in subgraph.outputs.items()]
    return packed


def _name(name: str, tensor: int) -> Any:
    packed = schema.TensorMapT()
    packed.name, packed.tensorIndex = name, tensor
    return packed


def _constant_spans(root: Any, buffers: Mapping[str, int]) -> dict[str, Span]:
    """Where the data of each buffer lies; field 0 of the table Buffer is its data."""
    return {key: _vector_span(root.Buffers(index), 0, 1) for key, index in buffers.items()}


def _scale_spans(root: Any, program: Program) -> dict[str, Span]:
    """Where the scales of each quantisation lie; field 2 of the table QuantizationParameters is its scale."""
    spans: dict[str, Span] = {}
    for place, subgraph in enumerate(program.subgraphs):
        for index, tensor in enumerate(subgraph.tensors):
            if tensor.quantisation is not None:
                packed = root.Subgraphs(place).Tensors(index).Quantization()
                span = _vector_span(packed, 2, 4)
                if spans.setdefault(tensor.quantisation.key, span) != span:
                    raise CompileError(f"the scales of {tensor.quantisation.key!r} are stored twice")
    return spans


def _vector_span(packed: Any, field: int, item_bytes: int) -> Span:
    """The span of a vector's items: the table's `field` points to a length, which the items follow."""
    table = packed._tab
    place = table.Offset(4 + 2 * field)
    if not place:
        return Span(0, 0)
    return Span(table.Vector(place), item_bytes * table.VectorLen(place))
