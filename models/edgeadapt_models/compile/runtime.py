"""Run a model's bytes in ONNX Runtime, as a device would. One thread: equal input gives equal bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors

from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.graph.export import INPUT

_RUNTIME_ERRORS = (
    runtime_errors.Fail,
    runtime_errors.InvalidArgument,
    runtime_errors.InvalidGraph,
    runtime_errors.InvalidProtobuf,
    runtime_errors.NotImplemented,
    runtime_errors.RuntimeException,
)
_ERRORS_ONLY = 3


def to_input(images: npt.NDArray[np.uint8]) -> FloatArray:
    """Images uint8 [N, H, W, C] to what a model takes: float32 [N, C, H, W] in [0, 1]."""
    scaled = images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(scaled)


class Runner:
    """A session over model bytes.

    Raises:
        CompileError: the runtime refuses the model (at construction) or fails on an input (when run).
    """

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except _RUNTIME_ERRORS as error:
            raise CompileError(f"ONNX Runtime refuses the model: {error}") from error
        self.outputs: tuple[str, ...] = tuple(output.name for output in self._session.get_outputs())

    def run(self, x: FloatArray) -> dict[str, FloatArray]:
        """Every output by name for float32 [N, C, H, W]."""
        try:
            results = self._session.run(list(self.outputs), {INPUT: x})
        except _RUNTIME_ERRORS as error:
            raise CompileError(f"ONNX Runtime fails on an input of shape {x.shape}: {error}") from error
        return dict(zip(self.outputs, results, strict=True))
