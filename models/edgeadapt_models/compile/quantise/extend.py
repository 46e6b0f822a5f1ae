"""What a bundle says, in the words of this package. Adding artifacts to one is in `compile.targets`."""

from __future__ import annotations

from edgeadapt.bundle import Bundle
from edgeadapt_models.compile.quantise.graph import FloatArtifact

RUNTIME = "onnxruntime"


def float_artifact(bundle: Bundle) -> FloatArtifact:
    """A bundle's float ONNX artifact; raises BundleError when it has none."""
    artifact = bundle.artifact(RUNTIME, "float32")
    return FloatArtifact(
        bundle.files[artifact.file],
        bundle.files[artifact.probe_suffix],
        artifact,
        bundle.manifest.norm_layers,
        bundle.slots,
    )


def input_limits(bundle: Bundle) -> tuple[float, float] | None:
    """Least and greatest value of the model's input, None where they are not known."""
    return (0.0, 1.0) if bundle.manifest.input.kind == "image" else None
