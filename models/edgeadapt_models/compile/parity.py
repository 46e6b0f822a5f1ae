"""Check a bundle's graphs against torch: the base, and a random patch of every slot.

Each comparison is the largest absolute difference over the largest magnitude (at least 1) of torch's answer,
over a batch of several images and a batch of one. It must not exceed `TOLERANCE`. The probe's moments are
compared with those of the tensors that torch's norm layers receive. A layer in the wrong order, an offset
that points to another tensor, or a value that the exporter shared or froze shows here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from edgeadapt.bundle import Artifact, NormLayer, SlotValues, materialise
from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.graph.export import OUTPUTS
from edgeadapt_models.compile.graph.norms import NormSite, record_norm_inputs, write_values
from edgeadapt_models.compile.graph.probe import PROBE_OUTPUTS
from edgeadapt_models.compile.runtime import Runner

TOLERANCE = 1e-4
"""Relative to the largest magnitude of an output: float32 rounding over tens of layers stays below 1e-5."""

_PATCH_SEED = 20240607


@dataclass(frozen=True, slots=True)
class ParityFigure:
    """One comparison.

    Attributes:
        values: "base" or "patch".
        graph: "fast" or "probe".
        output: name of the output.
        difference: largest absolute difference, relative to the largest magnitude (at least 1).
    """

    values: str
    graph: str
    output: str
    difference: float


def random_patch(base: SlotValues) -> dict[str, FloatArray]:
    """A seeded disturbance of every slot, of about a quarter of its magnitude; variances stay positive."""
    rng = np.random.default_rng(_PATCH_SEED)
    patch: dict[str, FloatArray] = {}
    for name, value in base.items():
        noise = rng.standard_normal(value.shape)
        is_variance = name.endswith(".running_var")
        moved = value * np.exp(0.3 * noise) if is_variance else value + 0.2 * (0.1 + np.abs(value)) * noise
        patch[name] = moved.astype(np.float32)
    return patch


def check_parity(
    module: nn.Module,
    sites: tuple[NormSite, ...],
    base: SlotValues,
    files: Mapping[str, bytes],
    artifact: Artifact,
    layers: Sequence[NormLayer],
    x: FloatArray,
) -> tuple[ParityFigure, ...]:
    """Compare both graphs with torch.

    Args:
        module: the torch module, in eval mode.
        sites: its norm layers in order of execution.
        base: the base value of every slot.
        files: the bundle's files.
        artifact: the artifact to check.
        layers: the same norm layers, as the manifest has them.
        x: float32 [N, C, H, W].

    Raises:
        CompileError: a difference exceeds `TOLERANCE`; lists every such figure.
    """
    figures: list[ParityFigure] = []
    for label, patch in (("base", dict[str, FloatArray]()), ("patch", random_patch(base))):
        reference = copy.deepcopy(module)
        write_values(reference, patch)
        fast = materialise(files[artifact.file], artifact, layers, patch, base)
        for graph, model in (("fast", fast), ("probe", fast + files[artifact.probe_suffix])):
            runner = Runner(model)
            differences: dict[str, float] = {}
            for batch in (x, x[:1]):
                expected, actual = _torch_outputs(reference, sites, batch), runner.run(batch)
                for name in runner.outputs:
                    worst = _difference(expected[name], actual[name])
                    differences[name] = float(np.maximum(differences.get(name, 0.0), worst))  # keeps NaN
            figures += [ParityFigure(label, graph, *item) for item in differences.items()]
    _refuse_mismatch(figures)
    return tuple(figures)


def _refuse_mismatch(figures: list[ParityFigure]) -> None:
    bad = [figure for figure in figures if not figure.difference <= TOLERANCE]
    if bad:
        listed = ", ".join(f"{f.values}/{f.graph}/{f.output} {f.difference:.3g}" for f in bad)
        raise CompileError(
            f"the compiled model differs from torch by more than {TOLERANCE:g} "
            f"of the largest magnitude: {listed}"
        )


def _torch_outputs(module: nn.Module, sites: tuple[NormSite, ...], x: FloatArray) -> dict[str, FloatArray]:
    outputs, inputs = record_norm_inputs(module, torch.from_numpy(x))
    arrays = [tensor.numpy() for _, tensor in inputs]
    mean, mean_square = (
        np.concatenate(
            [
                (a.astype(np.float64) ** power).mean(axis=s.reduce_axes)
                for a, s in zip(arrays, sites, strict=True)
            ],
            axis=1,
        ).astype(np.float32)
        for power in (1, 2)
    )
    values = [*(output.numpy() for output in outputs), mean, mean_square]
    return dict(zip((*OUTPUTS, *PROBE_OUTPUTS), values, strict=True))


def _difference(expected: FloatArray, actual: FloatArray) -> float:
    """NaN where either is not finite, infinity where the shapes differ."""
    if expected.shape != actual.shape:
        return float("inf")
    if not (np.isfinite(expected).all() and np.isfinite(actual).all()):
        return float("nan")
    return float(np.abs(expected - actual).max() / max(1.0, float(np.abs(expected).max())))
