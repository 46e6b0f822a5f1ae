"""Ranges of a float model's activations on calibration images: what 8-bit tensors must be able to hold.

Two passes in ONNX Runtime: smallest and largest value of each tensor, then a histogram between them. A range
is cut where that lowers the expected squared error of 8 bits: rounding noise step^2 / 12 of every value that
is not zero, against what the cut takes off the values beyond it. Long thin tails are cut, short ones are not.
Zero is always in the range, since padding and ReLU need it exactly.

Runs on floats only; what integers are made of a range is in `qparams`, so all runtimes share one calibration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.runtime import Runner

MIN_FRAMES = 16
"""Fewer calibration frames than this give ranges that the next frame leaves."""

Method = Literal["mse", "minmax"]

_BINS = 2048
_LEVELS = 255
# Candidates for where to cut, as shares of the distance from zero to the extreme.
_CUTS = np.linspace(0.25, 1.0, 61)
# Values held at once while frames run, over all tensors.
_MAX_VALUES = 16 << 20


@dataclass(frozen=True, slots=True)
class TensorRange:
    """What a tensor must be able to hold.

    Attributes:
        low: at most 0.
        high: at least 0.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low <= 0.0 <= self.high):
            raise CompileError(f"a range must be finite and hold zero, got {self.low} to {self.high}")


def measure_ranges(
    model: onnx.ModelProto, frames: FloatArray, tensors: Sequence[str], *, method: Method = "mse"
) -> dict[str, TensorRange]:
    """Run `model` on all frames and choose a range for each of the tensors.

    Args:
        model: the float graph with its base values written in; not changed.
        frames: float32 [N, ...] as the model takes them, at least `MIN_FRAMES`, of the source domain.
        tensors: names of float tensors of the graph: inputs, results of nodes, or outputs.
        method: "mse" cuts long tails, "minmax" does not.

    Raises:
        CompileError: too few frames, a tensor is not there, holds NaN or infinity, or the runtime fails.
    """
    if len(frames) < MIN_FRAMES:
        raise CompileError(
            f"8-bit ranges need at least {MIN_FRAMES} calibration images, got {len(frames)}; "
            "a few hundred are better"
        )
    wanted = list(dict.fromkeys(tensors))
    watch = _Watch(model, wanted)
    limits = _limits(watch, frames)
    if method == "minmax":
        return {name: TensorRange(min(low, 0.0), max(high, 0.0)) for name, (low, high) in limits.items()}
    histograms = _histograms(watch, frames, limits)
    return {name: _cut(histograms[name], *limits[name]) for name in wanted}


class _Watch:
    """Runs frames and gives the wanted tensors back, a batch at a time."""

    def __init__(self, model: onnx.ModelProto, wanted: Sequence[str]) -> None:
        graph = onnx.GraphProto()
        graph.CopyFrom(model.graph)
        made = {name for node in graph.node for name in node.output}
        taken = {value.name for value in graph.input}
        for name in wanted:
            if name not in made and name not in taken:
                raise CompileError(f"the graph has no tensor {name!r} to measure")
        del graph.output[:]
        self._taken = [name for name in wanted if name in taken]
        for name in wanted:
            if name in made:
                graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        first = graph.input[0].type.tensor_type.shape.dim[0]
        self._fixed = first.dim_value if first.HasField("dim_value") else 0
        self._batch = self._fixed
        whole = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
        self._runner = Runner(whole.SerializeToString()) if graph.output else None

    def batches(self, frames: FloatArray) -> Iterator[tuple[str, FloatArray]]:
        """(tensor, its values) for one batch after the other; the rest of a fixed batch is left out."""
        if not self._batch:
            size = sum(value.size for _, value in self._run(frames[:1]))
            self._batch = int(np.clip(_MAX_VALUES // max(size, 1), 1, 64))
        for start in range(0, len(frames), self._batch):
            part = frames[start : start + self._batch]
            if self._fixed and len(part) < self._fixed:
                return
            yield from self._run(part)

    def _run(self, frames: FloatArray) -> Iterator[tuple[str, FloatArray]]:
        yield from ((name, frames) for name in self._taken)
        if self._runner is not None:
            yield from self._runner.run(frames).items()


def _limits(watch: _Watch, frames: FloatArray) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for name, value in watch.batches(frames):
        low, high = float(value.min()), float(value.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise CompileError(f"tensor {name!r} holds NaN or infinity on the calibration images")
        before = found.get(name, (low, high))
        found[name] = min(low, before[0]), max(high, before[1])
    return found


def _histograms(
    watch: _Watch, frames: FloatArray, limits: Mapping[str, tuple[float, float]]
) -> dict[str, npt.NDArray[np.float64]]:
    """Counts [bins] of the values of each tensor that are not exactly zero."""
    counts = {name: np.zeros(_BINS) for name in limits}
    for name, value in watch.batches(frames):
        low, high = limits[name]
        flat = value.ravel()
        flat = flat[flat != 0]
        if high > low and flat.size:
            index = ((flat - low) * (_BINS / (high - low))).astype(np.int32)
            counts[name] += np.bincount(np.minimum(index, _BINS - 1), minlength=_BINS)
    return counts


def _cut(counts: npt.NDArray[np.float64], low: float, high: float) -> TensorRange:
    """The range with the least expected squared error."""
    bottom, top = min(low, 0.0), max(high, 0.0)
    if not counts.any():
        return TensorRange(bottom, top)
    centres = low + (np.arange(_BINS) + 0.5) * (high - low) / _BINS
    lows, highs = bottom * _CUTS, top * _CUTS
    lost_low = np.array([(counts * np.minimum(centres - cut, 0.0) ** 2).sum() for cut in lows])
    lost_high = np.array([(counts * np.maximum(centres - cut, 0.0) ** 2).sum() for cut in highs])
    steps = (highs[None, :] - lows[:, None]) / _LEVELS
    cost = lost_low[:, None] + lost_high[None, :] + counts.sum() * steps**2 / 12.0
    row, column = np.unravel_index(int(cost.argmin()), cost.shape)
    return TensorRange(float(lows[row]), float(highs[column]))
