"""LiteRT artifacts of a bundle that is there, from its ONNX one: same slots, same calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from edgeadapt.bundle import Bundle
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.quantise.calibrated import calibrated_params
from edgeadapt_models.compile.quantise.extend import RUNTIME, input_limits
from edgeadapt_models.compile.quantise.qparams import ActivationParams
from edgeadapt_models.compile.tflite.artifact import TfliteModel, tflite_model
from edgeadapt_models.compile.tflite.int8.artifact import int8_model
from edgeadapt_models.compile.tflite.writes import Initializers


def tflite_of(bundle: Bundle) -> TfliteModel:
    """The float32 LiteRT artifact of a bundle, from its ONNX one.

    Raises:
        BundleError: there is no float ONNX artifact.
        CompileError: an operator or a slot that LiteRT cannot have; says which and where.
    """
    source = bundle.artifact(RUNTIME)
    manifest = bundle.manifest
    return tflite_model(
        bundle.files[source.file],
        bundle.files[source.probe_suffix],
        source,
        manifest.norm_layers,
        image=manifest.input.kind == "image",
    )


def tflite_int8_of(bundle: Bundle, model: TfliteModel, frames: FloatArray) -> TfliteModel:
    """The int8 LiteRT artifact, from the float one.

    Args:
        bundle: that `model` was made of.
        model: from `tflite_of`.
        frames: float32 [N, *shape] of the source domain; a few hundred.

    Raises:
        CompileError: too few frames, nothing that can be int8, or a tensor that is not finite.
    """
    source = bundle.artifact(RUNTIME)
    data = bundle.files[source.file]
    base = onnx.load_from_string(bundle.fast_model(source, {}))
    movable = Initializers.of(onnx.load_from_string(data), data).mutable(source.writes)

    def calibrate(names: Sequence[str]) -> Mapping[str, ActivationParams]:
        return calibrated_params(base, frames, names, limits=input_limits(bundle), movable=movable)

    return int8_model(model, bundle.manifest.norm_layers, bundle.slots, calibrate)
