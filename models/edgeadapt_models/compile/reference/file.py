"""The ONNX file as it was given, run as it is: what its owner trusts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgeadapt.bundle import SlotValues
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.graph.inputs import GivenInput, Layout, Preprocessing
from edgeadapt_models.compile.graph.outputs import LOGITS
from edgeadapt_models.compile.graph.run import run_graph
from edgeadapt_models.compile.reference.base import Compare, relative_difference
from edgeadapt_models.compile.reference.squash import squash_of, squashed


class FileReference:
    """The original graph, fed by numpy one input at a time: a fixed batch axis does not matter."""

    title = "the given file"

    def __init__(
        self,
        model: onnx.ModelProto,
        given: GivenInput,
        layout: Layout,
        wanted: Preprocessing,
        output: str,
    ) -> None:
        """`output` is the tensor of `model` that holds the logits or what was made of them."""
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        self._given, self._layout, self._wanted, self._output = given, layout, wanted, output
        self._squash = squash_of(model, output)

    def expect(self, x: FloatArray, values: SlotValues) -> Compare | None:
        """Of the logits, at base values; where the file ends in a squashing function, of what it returns."""
        if values:
            return None
        expected = np.concatenate([self._run(x[i : i + 1]) for i in range(len(x))])

        def compare(actual: Mapping[str, FloatArray]) -> dict[str, float]:
            return {LOGITS: relative_difference(expected, squashed(actual[LOGITS], self._squash))}

        return compare

    def _run(self, x: FloatArray) -> npt.NDArray[Any]:
        found = run_graph(self._model, {self._given.name: self._feed(x)}, [self._output])[self._output]
        return found.reshape(found.shape[:2]).astype(np.float32)

    def _feed(self, x: FloatArray) -> npt.NDArray[Any]:
        """What the file takes: preprocessed, in its own layout and type."""
        return feed(x, self._given, self._layout, self._wanted)


def feed(x: FloatArray, given: GivenInput, layout: Layout, wanted: Preprocessing) -> npt.NDArray[Any]:
    """Inputs [N, *shape] as a file takes them: preprocessed, in its own layout and type."""
    kind = onnx.helper.tensor_dtype_to_np_dtype(given.kind)
    chosen = Preprocessing(scale=255.0) if kind == np.uint8 and wanted == Preprocessing() else wanted
    if x.ndim == 4 and chosen != Preprocessing():
        gain, offset = (np.array(v, np.float32)[:, None, None] for v in chosen.factors(x.shape[1]))
        x = x * gain + offset
    turned = x.transpose(0, 2, 3, 1) if layout == "NHWC" and x.ndim == 4 else x
    rounded = np.rint(turned) if kind == np.uint8 else turned
    return np.ascontiguousarray(rounded, dtype=kind)
