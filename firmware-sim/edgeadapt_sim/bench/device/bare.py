"""The runtimes as anybody would call them, with the same preparation of the input and nothing else.

Kept apart from torch and from edgeadapt, because a process that measures memory loads this alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

Step = Callable[[npt.NDArray[np.uint8]], object]
"""Scores one frame uint8 [H, W, C]."""

_LEVELS = np.float32(255)


def bare(path: Path) -> Step:
    """Scores frames with the model in a file, `.onnx` or `.tflite`, on one thread."""
    return _onnx(path) if path.suffix == ".onnx" else _tflite(path)


def _onnx(path: Path) -> Step:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    outputs = [output.name for output in session.get_outputs()]

    def step(frame: npt.NDArray[np.uint8]) -> object:
        x = np.ascontiguousarray(frame.transpose(2, 0, 1)[None], dtype=np.float32)
        x /= _LEVELS
        return session.run(outputs, {entry.name: x})

    return step


def _tflite(path: Path) -> Step:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    outputs = interpreter.get_output_details()

    def step(frame: npt.NDArray[np.uint8]) -> object:
        x = frame[None].astype(np.float32)
        x /= _LEVELS
        interpreter.set_tensor(entry["index"], x)
        interpreter.invoke()
        return [interpreter.get_tensor(output["index"]) for output in outputs]

    return step
