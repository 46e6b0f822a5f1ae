"""Offsets of initializers in a serialised model, and bytes that are no model."""

from __future__ import annotations

import contextlib

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from edgeadapt.errors import CompileError
from edgeadapt_models.compile.graph.wire_walk import initializer_spans


def model(*tensors: onnx.TensorProto) -> bytes:
    graph = helper.make_graph([], "graph", [], [], initializer=list(tensors))
    data: bytes = helper.make_model(graph).SerializeToString()
    return data


def test_spans_of_equal_values_are_apart() -> None:
    same = np.arange(50, dtype=np.float32)
    data = model(*(numpy_helper.from_array(same, name) for name in ("a", "b")))
    spans = initializer_spans(data)
    assert set(spans) == {"a", "b"}
    assert spans["a"].end < spans["b"].offset
    for span in spans.values():
        assert data[span.offset : span.end] == same.tobytes()


def test_values_in_another_field_are_left_out() -> None:
    typed = helper.make_tensor("typed", onnx.TensorProto.FLOAT, [2], [1.0, 2.0])
    raw = numpy_helper.from_array(np.ones(2, np.float32), "raw")
    assert set(initializer_spans(model(typed, raw))) == {"raw"}


def test_two_of_one_name_are_refused() -> None:
    tensor = numpy_helper.from_array(np.ones(2, np.float32), "twice")
    with pytest.raises(CompileError, match="'twice'"):
        initializer_spans(model(tensor, tensor))


def test_a_truncated_model_is_refused() -> None:
    data = model(numpy_helper.from_array(np.ones(64, np.float32), "a"))
    offset = initializer_spans(data)["a"].offset
    with pytest.raises(CompileError, match="malformed"):
        initializer_spans(data[: offset + 8])


@given(st.binary(max_size=64))
def test_garbage_gives_spans_or_a_compile_error(data: bytes) -> None:
    with contextlib.suppress(CompileError):
        assert all(0 <= s.offset <= s.end <= len(data) for s in initializer_spans(data).values())
