"""Run an ONNX graph as it stands, to see every tensor: what exporters promise and what there really is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy.typing as npt
import onnx
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors

from edgeadapt.errors import CompileError

RUNTIME_ERRORS = (
    runtime_errors.Fail,
    runtime_errors.InvalidArgument,
    runtime_errors.InvalidGraph,
    runtime_errors.InvalidProtobuf,
    runtime_errors.NotImplemented,
    runtime_errors.RuntimeException,
)
_ERRORS_ONLY = 3
_FATAL_ONLY = 4


def quiet_options(*, optimise: bool = True) -> Any:
    """Session options: one thread, so that equal input gives equal bits; no chatter."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY if optimise else _FATAL_ONLY
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def run_graph(
    model: onnx.ModelProto, feeds: dict[str, npt.NDArray[Any]], wanted: Iterable[str] | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Values of tensors of a graph, unoptimised.

    Args:
        model: is not changed.
        feeds: the inputs.
        wanted: names of tensors; None for every node's outputs.

    Returns:
        What is wanted, and the inputs.

    Raises:
        CompileError: the runtime refuses the model or fails on the input.
    """
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    every = (name for node in model.graph.node for name in node.output if name)
    names = [name for name in (every if wanted is None else wanted) if name not in feeds]
    listed = {output.name for output in model.graph.output}
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in listed)
    try:
        session = onnxruntime.InferenceSession(
            shown.SerializeToString(), quiet_options(optimise=False), providers=["CPUExecutionProvider"]
        )
        return {**feeds, **dict(zip(names, session.run(names, feeds), strict=True))}
    except RUNTIME_ERRORS as error:
        shapes = ", ".join(str(value.shape) for value in feeds.values())
        raise CompileError(
            f"ONNX Runtime does not run the model on an input of shape {shapes}: {error}"
        ) from error


def shapes_of(values: dict[str, npt.NDArray[Any]]) -> dict[str, tuple[int, ...]]:
    """Shape of each value."""
    return {name: tuple(value.shape) for name, value in values.items()}
