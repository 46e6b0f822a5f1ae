"""Further artifacts of a bundle: for LiteRT, and in 8 bits. All are made from its float ONNX artifact.

That one is always there: it is what the cloud reads and what the others are checked against.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec

from edgeadapt.bundle import (
    CALIBRATION_NAME,
    MANIFEST_NAME,
    SLOTS_NAME,
    Artifact,
    Bundle,
    FileDigest,
    encode_manifest,
)
from edgeadapt.digest import sha256_hex
from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray, encode_tensors
from edgeadapt_models.compile.parity import ParityFigure
from edgeadapt_models.compile.quantise.artifact import quantised_artifact
from edgeadapt_models.compile.quantise.calibrated import MAX_FRAMES
from edgeadapt_models.compile.quantise.compare import Comparison, compare
from edgeadapt_models.compile.quantise.extend import float_artifact, input_limits

Target: TypeAlias = Literal["onnx", "tflite"]
_PARITY_FRAMES = 16
_COMPARED_FRAMES = 128
_MAX_VALUES = 1 << 24


@dataclass(frozen=True, slots=True)
class TargetRequest:
    """What a bundle is to run on.

    Attributes:
        runtimes: "onnx" is in every bundle, whether named or not.
        int8: whether to add an int8 artifact for each runtime that is named.
    """

    runtimes: frozenset[Target] = frozenset({"onnx"})
    int8: bool = False

    @property
    def plain(self) -> bool:
        """True when nothing is added to the float ONNX artifact."""
        return self.runtimes <= {"onnx"} and not self.int8

    def frames(self, values: int) -> int:
        """How many frames of so many values `extend` wants to see: ranges need many, checks a few."""
        if not self.int8:
            return _PARITY_FRAMES
        return min(max(_MAX_VALUES // values, _COMPARED_FRAMES), MAX_FRAMES)


@dataclass(frozen=True, slots=True)
class Extended:
    """A bundle with further artifacts.

    Attributes:
        bundle: another bundle than the one it was made of, with a digest of its own.
        files: its files.
        parity: figures of the checks of float artifacts.
        int8: what the integers cost, by the title of the artifact.
    """

    bundle: Bundle
    files: Mapping[str, bytes]
    parity: tuple[ParityFigure, ...]
    int8: Mapping[str, Comparison]


def extend(bundle: Bundle, request: TargetRequest, frames: FloatArray) -> Extended:
    """Add artifacts to a bundle.

    Args:
        bundle: with a float ONNX artifact.
        request: which ones.
        frames: float32 [N, *shape] of the source domain, as many as `request.frames` says.

    Raises:
        CompileError: an artifact cannot be made, or does not compute what the ONNX one does.
    """
    made: list[tuple[Artifact, Mapping[str, bytes]]] = []
    if request.int8 and "onnx" in request.runtimes:
        onnx = quantised_artifact(float_artifact(bundle), frames, limits=input_limits(bundle))
        made.append((onnx.artifact, onnx.files))
    if "tflite" in request.runtimes:
        made += _tflite(bundle, frames, int8=request.int8)
    files = _files(bundle, made)
    extended = Bundle.from_files(files)
    figures: tuple[ParityFigure, ...] = ()
    if "tflite" in request.runtimes:
        from edgeadapt_models.compile.tflite.check import check_tflite

        figures = check_tflite(extended, frames[:_PARITY_FRAMES])
    titles = {artifact.title: artifact.runtime for artifact, _ in made if artifact.precision == "int8"}
    shown = frames[:_COMPARED_FRAMES]
    compared = {title: compare(extended, shown, runtime) for title, runtime in titles.items()}
    return Extended(extended, files, figures, compared)


def _tflite(bundle: Bundle, frames: FloatArray, *, int8: bool) -> list[tuple[Artifact, Mapping[str, bytes]]]:
    try:
        from edgeadapt_models.compile.tflite.extend import tflite_int8_of, tflite_of
    except ImportError as error:
        raise CompileError(
            f"--target tflite needs LiteRT: pip install 'edgeadapt[tflite]' ({error})"
        ) from error
    model = tflite_of(bundle)
    models = [model, tflite_int8_of(bundle, model, frames)] if int8 else [model]
    return [(model.artifact, {model.artifact.file: model.data}) for model in models]


def _files(bundle: Bundle, made: list[tuple[Artifact, Mapping[str, bytes]]]) -> dict[str, bytes]:
    """The files of the bundle with artifacts added; one of the same runtime and precision is replaced."""
    titles = {artifact.title for artifact, _ in made}
    kept = tuple(artifact for artifact in bundle.manifest.artifacts if artifact.title not in titles)
    files: dict[str, bytes] = {
        CALIBRATION_NAME: bundle.calibration.encode(),
        SLOTS_NAME: encode_tensors(bundle.base_slots()),
    }
    for artifact in kept:
        files |= {name: bundle.files[name] for name in (artifact.file, artifact.probe_suffix) if name}
    for _, added in made:
        files |= added
    artifacts = (*kept, *(artifact for artifact, _ in made))
    digests = tuple(FileDigest(name, sha256_hex(data), len(data)) for name, data in sorted(files.items()))
    manifest = msgspec.structs.replace(bundle.manifest, artifacts=artifacts, files=digests)
    return {**files, MANIFEST_NAME: encode_manifest(manifest)}
