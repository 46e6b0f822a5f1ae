"""The file: what is said to lie somewhere lies there, once, and LiteRT reads it."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeadapt.errors import CompileError
from edgeadapt_models.compile.tflite.file.flatbuffer import TfliteFile, serialise
from edgeadapt_models.compile.tflite.file.program import (
    Constants,
    Operator,
    Program,
    Quantisation,
    Subgraph,
    Tensor,
    live,
)
from edgeadapt_models.compile.tflite.runtime import TfliteRunner

_FLOAT = np.dtype(np.float32)
_CODES = schema.BuiltinOperator


def _adds(name: str, key: str) -> Subgraph:
    """x + constant."""
    subgraph = Subgraph(name)
    x, c, y = (
        subgraph.add(Tensor(label, (1, 3), _FLOAT, k)) for label, k in (("x", ""), ("c", key), ("y", ""))
    )
    subgraph.operators.append(Operator(_CODES.ADD, (x, c), (y,), schema.AddOptionsT()))
    subgraph.inputs, subgraph.outputs = {"x": x}, {"y": y}
    return subgraph


def _file(constants: Constants, *subgraphs: Subgraph) -> TfliteFile:
    return serialise(Program(subgraphs, constants.values))


def test_constants_lie_where_they_are_said_to_lie() -> None:
    constants = Constants()
    rng = np.random.default_rng(0)
    values = {f"c{i}": rng.standard_normal((1, 3)).astype(np.float32) for i in range(3)}
    values["twin"] = values["c0"].copy()  # equal bytes elsewhere must not be mistaken for it
    for key, value in values.items():
        constants.add(key, value)
    file = _file(constants, *(_adds(key, key) for key in values))
    assert set(file.constants) == set(values)
    for key, value in values.items():
        span = file.constants[key]
        assert file.data[span.offset : span.end] == value.tobytes()
        assert span.offset % 16 == 0
    assert file.constants["twin"] != file.constants["c0"]


def test_writing_at_the_offset_of_a_constant_changes_what_both_signatures_compute() -> None:
    constants = Constants()
    constants.add("shared", np.zeros((1, 3), np.float32))
    file = _file(constants, _adds("fast", "shared"), _adds("probe", "shared"))
    changed = bytearray(file.data)
    span = file.constants["shared"]
    changed[span.offset : span.end] = np.array([1, 2, 3], np.float32).tobytes()
    runner = TfliteRunner(bytes(changed))
    for signature in ("fast", "probe"):
        assert runner.run(signature, np.ones((1, 3), np.float32))["y"].tolist() == [[2, 3, 4]]


def test_scales_lie_where_they_are_said_to_lie_and_once() -> None:
    constants = Constants()
    constants.add("weights", np.arange(6, dtype=np.int8).reshape(2, 3))
    scales = np.array([0.5, 0.25], np.float32)
    held = Quantisation("weights", scales, np.zeros(2, np.int64))
    subgraphs = []
    for name in ("fast", "probe"):
        subgraph = Subgraph(name)
        q = subgraph.add(Tensor("q", (2, 3), np.dtype(np.int8), "weights", held))
        y = subgraph.add(Tensor("y", (2, 3), _FLOAT))
        subgraph.operators.append(Operator(_CODES.DEQUANTIZE, (q,), (y,), None, 5))
        subgraph.outputs = {"y": y}
        subgraphs.append(subgraph)
    file = _file(constants, *subgraphs)
    span = file.scales["weights"]
    assert file.data[span.offset : span.end] == scales.tobytes()
    root = schema.Model.GetRootAs(file.data)
    for index in range(2):
        assert root.Subgraphs(index).Tensors(0).Quantization().ScaleAsNumpy().tolist() == [0.5, 0.25]


def test_equal_programs_give_equal_bytes() -> None:
    files = []
    for _ in range(2):
        constants = Constants()
        constants.add("c", np.ones((1, 3), np.float32))
        files.append(_file(constants, _adds("fast", "c")).data)
    assert files[0] == files[1]


def test_a_key_has_one_value() -> None:
    constants = Constants()
    constants.add("c", np.ones(3, np.float32))
    constants.add("c", np.ones(3, np.float32))
    with pytest.raises(CompileError, match="two values"):
        constants.add("c", np.zeros(3, np.float32))


def test_a_type_without_a_name_is_refused() -> None:
    subgraph = Subgraph("fast")
    subgraph.outputs = {"y": subgraph.add(Tensor("odd", (1,), np.dtype(np.complex64)))}
    with pytest.raises(CompileError, match="complex64"):
        _file(Constants(), subgraph)


def test_what_no_output_needs_is_dropped() -> None:
    constants = Constants()
    constants.add("c", np.ones((1, 3), np.float32))
    subgraph = _adds("fast", "c")
    x = subgraph.inputs["x"]
    unused = subgraph.add(Tensor("unused", (1, 3), _FLOAT))
    subgraph.operators.insert(0, Operator(_CODES.NEG, (x,), (unused,), schema.NegOptionsT()))
    kept = live(subgraph)
    assert [tensor.name for tensor in kept.tensors] == ["x", "c", "y"]
    assert [operator.code for operator in kept.operators] == [_CODES.ADD]


def test_litert_refuses_garbage_with_one_kind_of_error() -> None:
    with pytest.raises(CompileError, match="LiteRT refuses"):
        TfliteRunner(b"TFL3 this is no model at all, whatever it says")
