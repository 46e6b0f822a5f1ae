"""Give a bundle that is there an int8 ONNX artifact beside its float one: same slots, same calibration."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from edgeadapt.bundle import (
    CALIBRATION_NAME,
    MANIFEST_NAME,
    SLOTS_NAME,
    Bundle,
    FileDigest,
    encode_manifest,
)
from edgeadapt.digest import sha256_hex
from edgeadapt.tensors import FloatArray, encode_tensors
from edgeadapt_models.compile.quantise.artifact import QuantisedModel, quantised_artifact
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


def with_int8(bundle: Bundle, frames: FloatArray) -> tuple[dict[str, bytes], QuantisedModel]:
    """The files of a bundle that has both; it is another bundle, with a digest of its own.

    Args:
        bundle: has a float ONNX artifact; one of int8 is replaced.
        frames: float32 [N, ...] as the model takes them, of the source domain; see `artifact`.

    Raises:
        BundleError: there is no float ONNX artifact.
        CompileError: see `artifact.quantised_artifact`.
    """
    made = quantised_artifact(float_artifact(bundle), frames, limits=input_limits(bundle))
    others = tuple(entry for entry in bundle.manifest.artifacts if entry.title != made.artifact.title)
    named = {file for entry in others for file in (entry.file, entry.probe_suffix)}
    files: dict[str, bytes] = {
        **{name: data for name, data in bundle.files.items() if name in named},
        **made.files,
        CALIBRATION_NAME: bundle.calibration.encode(),
        SLOTS_NAME: encode_tensors(bundle.base_slots()),
    }
    files[MANIFEST_NAME] = encode_manifest(
        msgspec.structs.replace(bundle.manifest, artifacts=(*others, made.artifact), files=_digests(files))
    )
    return files, made


def _digests(files: Mapping[str, bytes]) -> tuple[FileDigest, ...]:
    return tuple(FileDigest(name, sha256_hex(data), len(data)) for name, data in sorted(files.items()))
