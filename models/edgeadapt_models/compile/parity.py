"""Check an artifact against what is known of the model: the base, and random patches of every slot.

References are torch, the file that was given, and the graph written out (`reference`). Each comparison is the
largest absolute difference over the largest magnitude (at least 1) of what is expected, over a batch of
several inputs and a batch of one. It must not exceed `TOLERANCE`. A layer in the wrong order, an offset that
points to another tensor, or a value that the exporter shared or froze shows here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgeadapt.bundle import Artifact, NormLayer, Slot, SlotValues, materialise
from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.extras.values import disturbed
from edgeadapt_models.compile.reference.base import Reference
from edgeadapt_models.compile.runtime import Runner

TOLERANCE = 1e-4
"""Relative to the largest magnitude of an output: float32 rounding over tens of layers stays below 1e-5."""

_PATCH_SEED = 20240607


@dataclass(frozen=True, slots=True)
class ParityFigure:
    """One comparison.

    Attributes:
        against: the reference's title.
        values: "base", "patch" (of norm slots) or "every slot".
        graph: "fast" or "probe".
        output: name of the output.
        difference: largest absolute difference, relative to the largest magnitude (at least 1).
    """

    against: str
    values: str
    graph: str
    output: str
    difference: float


def random_patches(slots: Sequence[Slot], base: SlotValues) -> dict[str, dict[str, FloatArray]]:
    """What is compared: nothing changed, every norm slot, and every slot that there is."""
    norms, further = random_patch(slots, base), disturbed(slots, base, _PATCH_SEED)
    patches: dict[str, dict[str, FloatArray]] = {"base": {}, "patch": norms}
    return {**patches, "every slot": {**norms, **further}} if further else patches


def random_patch(slots: Sequence[Slot], base: SlotValues) -> dict[str, FloatArray]:
    """A seeded disturbance of every norm slot, of about a fifth of its magnitude; variances stay positive."""
    rng = np.random.default_rng(_PATCH_SEED)
    patch: dict[str, FloatArray] = {}
    for slot in slots:
        if not slot.kind.startswith("norm_"):
            continue
        value = base[slot.name]
        noise = rng.standard_normal(value.shape)
        factor = value * np.exp(0.3 * noise)
        moved = factor if slot.kind == "norm_var" else value + 0.2 * (0.1 + np.abs(value)) * noise
        patch[slot.name] = moved.astype(np.float32)
    return patch


def check_parity(
    artifact: Artifact,
    files: Mapping[str, bytes],
    layers: Sequence[NormLayer],
    slots: Sequence[Slot],
    base: SlotValues,
    references: Sequence[Reference],
    x: FloatArray,
    *,
    tolerance: float = TOLERANCE,
) -> tuple[ParityFigure, ...]:
    """Compare both graphs of an ONNX artifact with every reference.

    Args:
        artifact: the artifact to check.
        files: its files.
        layers: the bundle's norm layers.
        slots: the bundle's slots.
        base: the base value of every slot.
        references: what to compare with; those that know nothing of some values are passed over.
        x: float32 [N, *shape].
        tolerance: largest difference allowed.

    Raises:
        CompileError: a difference exceeds `tolerance`; lists every such figure.
    """
    figures: list[ParityFigure] = []
    for label, patch in random_patches(slots, base).items():
        fast = materialise(files[artifact.file], artifact, layers, patch, base)
        runners = {"fast": Runner(fast), "probe": Runner(fast + files[artifact.probe_suffix])}
        worst: dict[tuple[str, str, str], float] = {}
        for batch in (x, x[:1]):
            found = {graph: runner.run(batch) for graph, runner in runners.items()}
            for reference in references:
                compare = reference.expect(batch, patch)
                for graph, actual in found.items() if compare is not None else ():
                    assert compare is not None
                    for name, value in compare(actual).items():
                        key = reference.title, graph, name
                        worst[key] = float(np.maximum(worst.get(key, 0.0), value))  # keeps NaN
        figures += [ParityFigure(key[0], label, key[1], key[2], value) for key, value in worst.items()]
    refuse_mismatch(figures, tolerance)
    return tuple(figures)


def refuse_mismatch(figures: Sequence[ParityFigure], tolerance: float) -> None:
    """Raise CompileError that lists the figures above `tolerance`, or that are NaN."""
    bad = [figure for figure in figures if not figure.difference <= tolerance]
    if bad:
        listed = ", ".join(f"{f.against}/{f.values}/{f.graph}/{f.output} {f.difference:.3g}" for f in bad)
        raise CompileError(
            f"the compiled model differs from what it was made of by more than {tolerance:g} "
            f"of the largest magnitude: {listed}"
        )
