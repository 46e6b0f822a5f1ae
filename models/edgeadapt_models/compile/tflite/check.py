"""Check the LiteRT artifact against the ONNX artifact that it was made from, as devices would run both.

At the base and at random values of the slots, both signatures. Where LiteRT measures a layer's output, the
moments that are expected of it follow from ONNX's moments of the input: with y = a x + b per channel,

    mean y = a mean x + b        mean y^2 = a^2 mean x^2 + 2 a b mean x + b^2

so that a channel that a norm layer switches off is compared, too.
"""

from __future__ import annotations

import numpy as np

from edgeadapt.bundle import Artifact, Bundle, SlotValues
from edgeadapt.bundle.folds import gain_and_shift
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.graph.probe import PROBE_OUTPUTS
from edgeadapt_models.compile.parity import TOLERANCE, ParityFigure, random_patches, refuse_mismatch
from edgeadapt_models.compile.reference.base import relative_difference
from edgeadapt_models.compile.runtime import Runner
from edgeadapt_models.compile.tflite.runtime import TfliteRunner, to_layout
from edgeadapt_models.compile.tflite.subgraphs import FAST, PROBE

TITLE = "ONNX Runtime, by LiteRT"
_SEED = 20240614
# A mean over 112 x 112 positions is summed up in float32, to 4e-5 of its value, and a gain multiplies that.
_MOMENTS = 5.0


def check_tflite(bundle: Bundle, x: FloatArray, *, tolerance: float = TOLERANCE) -> tuple[ParityFigure, ...]:
    """Compare the float32 artifacts of a bundle that has both.

    Args:
        bundle: with artifacts for ONNX Runtime and LiteRT.
        x: float32 [N, *shape].
        tolerance: largest difference allowed, relative to the largest magnitude (at least 1); of moments five
            times as much.

    Raises:
        BundleError: an artifact is missing.
        CompileError: a difference exceeds `tolerance`, or LiteRT refuses the model.
    """
    source, made = bundle.artifact("onnxruntime"), bundle.artifact("tflite")
    figures: list[ParityFigure] = []
    for label, values in random_patches(bundle.manifest.slots, bundle.slots).items():
        expected = Runner(bundle.probe_model(source, values)).run(x)
        expected |= _moments(bundle, source, made, values, expected)
        runner = TfliteRunner(bundle.fast_model(made, values))
        for signature in (FAST, PROBE):
            found = runner.run(signature, to_layout(made, x))
            figures += [
                ParityFigure(TITLE, label, signature, name, relative_difference(expected[name], found[name]))
                for name in expected
                if name in found
            ]
    refuse_mismatch([figure for figure in figures if figure.output not in PROBE_OUTPUTS], tolerance)
    refuse_mismatch([figure for figure in figures if figure.output in PROBE_OUTPUTS], _MOMENTS * tolerance)
    return tuple(figures)


def _moments(
    bundle: Bundle, source: Artifact, made: Artifact, values: SlotValues, probed: dict[str, FloatArray]
) -> dict[str, FloatArray]:
    """What `made` must measure, from what `source` measured."""
    mean, square = (probed[name].astype(np.float64) for name in PROBE_OUTPUTS)
    places = zip(bundle.manifest.norm_layers, source.measured, made.measured, strict=True)
    held = {**bundle.slots, **values}
    for layer, before, after in places:
        if (before, after) == ("input", "output"):
            part = slice(layer.probe_offset, layer.probe_offset + layer.channels)
            a, b = gain_and_shift(layer, lambda name: held[name].astype(np.float64))
            square[:, part] = a**2 * square[:, part] + 2 * a * b * mean[:, part] + b**2
            mean[:, part] = a * mean[:, part] + b
    return dict(zip(PROBE_OUTPUTS, (mean.astype(np.float32), square.astype(np.float32)), strict=True))
