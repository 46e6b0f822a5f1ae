"""Run a model's bytes in ONNX Runtime, as a device would. One thread: equal input gives equal bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from edgeadapt.bundle import InputSpec
from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.graph.inputs import INPUT
from edgeadapt_models.compile.graph.run import RUNTIME_ERRORS, quiet_options


def to_input(images: npt.NDArray[np.uint8]) -> FloatArray:
    """Images uint8 [N, H, W, C] to what a model takes: float32 [N, C, H, W] in [0, 1]."""
    scaled = images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(scaled)


def frames_to_input(spec: InputSpec, frames: npt.NDArray[Any]) -> FloatArray:
    """Frames [N, *spec.frame_shape] as a source gives them to what a model takes, [N, *spec.shape]."""
    return to_input(frames) if spec.kind == "image" else np.ascontiguousarray(frames, dtype=np.float32)


class Runner:
    """A session over model bytes.

    Raises:
        CompileError: the runtime refuses the model (at construction) or fails on an input (when run).
    """

    def __init__(self, model: bytes) -> None:
        try:
            self._session = onnxruntime.InferenceSession(
                model, quiet_options(), providers=["CPUExecutionProvider"]
            )
        except RUNTIME_ERRORS as error:
            raise CompileError(f"ONNX Runtime refuses the model: {error}") from error
        self.outputs: tuple[str, ...] = tuple(output.name for output in self._session.get_outputs())

    def run(self, x: FloatArray) -> dict[str, FloatArray]:
        """Every output by name for float32 [N, *shape]."""
        try:
            results = self._session.run(list(self.outputs), {INPUT: x})
        except RUNTIME_ERRORS as error:
            raise CompileError(f"ONNX Runtime fails on an input of shape {x.shape}: {error}") from error
        return dict(zip(self.outputs, results, strict=True))
