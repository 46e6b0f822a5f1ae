"""Run a `.tflite` file as a device would: one thread, one frame at a time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from edgeadapt.bundle import Artifact
from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray

# The interpreter raises these for a file that it cannot read, and for operators that do not fit together.
_RUNTIME_ERRORS = (RuntimeError, ValueError)


def to_layout(artifact: Artifact, x: FloatArray) -> FloatArray:
    """Inputs [N, *shape] as a bundle has them, in the artifact's order of axes."""
    turned = artifact.layout == "NHWC" and x.ndim == 4
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if turned else x


class TfliteRunner:
    """An interpreter over a model's bytes.

    Raises:
        CompileError: LiteRT refuses the model (at construction) or fails on an input (when run).
    """

    def __init__(self, data: bytes) -> None:
        try:
            self._interpreter = Interpreter(model_content=data, num_threads=1)
            self._interpreter.allocate_tensors()
        except _RUNTIME_ERRORS as error:
            raise CompileError(f"LiteRT refuses the model: {error}") from error

    def run(self, signature: str, frames: FloatArray) -> Mapping[str, FloatArray]:
        """Every output of a signature, stacked.

        Args:
            signature: "fast" or "probe".
            frames: float32 [N, ...] in the file's own order of axes.
        """
        try:
            runner = self._interpreter.get_signature_runner(signature)
            (name,) = runner.get_input_details()
            results = [runner(**{name: frame[None]}) for frame in frames]
        except _RUNTIME_ERRORS as error:
            raise CompileError(f"LiteRT fails on frames of shape {frames.shape[1:]}: {error}") from error
        return {output: np.concatenate([result[output] for result in results]) for output in results[0]}

    def delegates(self) -> tuple[int, int]:
        """(parts that XNNPACK took of the first signature's graph, operators that it left to LiteRT)."""
        operators = self._interpreter._get_ops_details()
        parts = [operator for operator in operators if operator["op_name"] == "DELEGATE"]
        computed = {int(tensor) for part in parts for tensor in part["outputs"]}
        maker = {
            int(tensor): operator
            for operator in operators
            if operator["op_name"] != "DELEGATE"
            for tensor in operator["outputs"]
        }
        wanted = [int(tensor) for part in parts for tensor in part["inputs"]]
        wanted += [int(output["index"]) for output in self._interpreter.get_output_details()]
        left: set[int] = set()
        while wanted:
            operator = maker.get(wanted[-1]) if wanted[-1] not in computed else None
            wanted.pop()
            if operator is not None and operator["index"] not in left:
                left.add(operator["index"])
                wanted += [int(tensor) for tensor in operator["inputs"]]
        return len(parts), len(left)
