"""Turn a trained model into a bundle: the only way that bundles are made.

A model comes from torch, an exported program or an ONNX file (`source`), and is prepared (`prepare`), laid
out (`artifact`), checked against what it was made of (`parity`), measured on source data (`calibrate`), given
artifacts for further runtimes and precisions (`targets`), and written (`write`). The caller's module or file
is never changed. The format itself is decided in `edgeadapt.bundle`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from torch import nn

from edgeadapt.bundle import (
    CALIBRATION_NAME,
    MANIFEST_NAME,
    SLOTS_NAME,
    Bundle,
    FileDigest,
    InputSpec,
    encode_manifest,
    read_folder,
)
from edgeadapt.digest import sha256_hex
from edgeadapt.tensors import FloatArray, encode_tensors
from edgeadapt_models.compile.analyse.findings import Findings, FoldedLayers
from edgeadapt_models.compile.artifact import OnnxArtifact, lay_out
from edgeadapt_models.compile.calibrate import Fitted, calibrate, classes_without_data, measure
from edgeadapt_models.compile.extras.cost import group_costs
from edgeadapt_models.compile.extras.explicit import Explicit
from edgeadapt_models.compile.extras.request import ExtrasRequest, refuse_int8
from edgeadapt_models.compile.extras.sizes import size_warnings
from edgeadapt_models.compile.graph.place import Named
from edgeadapt_models.compile.parity import ParityFigure, check_parity
from edgeadapt_models.compile.prepare import Prepared, prepare
from edgeadapt_models.compile.quantise.compare import Comparison
from edgeadapt_models.compile.reference.explicit import ExplicitReference
from edgeadapt_models.compile.runtime import frames_to_input
from edgeadapt_models.compile.scorers import ScorerRequest, fit_scorers, linear_head
from edgeadapt_models.compile.source.draft import Draft
from edgeadapt_models.compile.source.frames import Frames
from edgeadapt_models.compile.source.modules import draft_module
from edgeadapt_models.compile.targets import TargetRequest, extend
from edgeadapt_models.compile.write import write_folder

PARITY_FRAMES = 16
_PARITY_VALUES, _MIN_PARITY_FRAMES = 600_000, 3
"""Of large inputs a few are enough, and every tensor of them is held in memory."""
_GUESSING = 1.5
"""A model that is right no more often than this, in units of chance, is not given what it was trained on."""
_FEW = 20
"""Of fewer frames a share says nothing."""
_PLAIN = ExtrasRequest()
_ONNX = TargetRequest()
_SCORERS = ScorerRequest()


@dataclass(frozen=True, slots=True)
class Compilation:
    """A bundle, and how it came to be.

    Attributes:
        bundle: as read back from its folder.
        parity: figures of the parity check.
        layers: where the norm layers are in the graph, in the manifest's order.
        findings: the head, and what was passed over.
        notes: for people.
        costs: time of a frame over that of the plain model, by group of slots, where prompts or adapters put
            nodes into the graph.
        int8: what integers cost, by the title of the artifact.
    """

    bundle: Bundle
    parity: tuple[ParityFigure, ...]
    layers: tuple[Named, ...]
    findings: Findings
    notes: tuple[str, ...]
    costs: Mapping[str, float] = field(default_factory=dict)
    int8: Mapping[str, Comparison] = field(default_factory=dict)


def compile_model(
    module: nn.Module,
    *,
    name: str,
    classes: Sequence[str],
    input_shape: tuple[int, ...],
    calibration_images: npt.NDArray[np.uint8],
    calibration_labels: npt.NDArray[np.integer] | None,
    out: Path,
) -> Bundle:
    """Compile a torch module and write the bundle to the folder `out`.

    Args:
        module: forward takes float32 [N, C, H, W] in [0, 1] and returns logits [N, K], or (logits, embedding
            [N, D]). It is compiled as in eval mode, on the CPU.
        name: name of the bundle.
        classes: K class names.
        input_shape: (C, H, W).
        calibration_images: uint8 [N, H, W, C] of the split that the model was fitted on; a few thousand.
        calibration_labels: [N] integers in 0..K-1; None when they are not known.
        out: the folder; a bundle that is there is replaced whole.

    Returns:
        The bundle as read back from `out`.

    Raises:
        CompileError: the model or the data is not as needed; says what was found. `out` is then untouched.
    """
    data = Frames(calibration_images, calibration_labels)
    spec = InputSpec(tuple(input_shape))
    return compile_module(module, name=name, classes=classes, spec=spec, data=data, out=out).bundle


def compile_module(
    module: nn.Module,
    *,
    name: str,
    classes: Sequence[str],
    spec: InputSpec,
    data: Frames,
    out: Path,
    folded: FoldedLayers = "auto",
    extras: ExtrasRequest = _PLAIN,
    targets: TargetRequest = _ONNX,
    scorers: ScorerRequest = _SCORERS,
) -> Compilation:
    """As `compile_model`, for any input, with all that is known of the result."""
    data.check(spec, len(classes))
    x = parity_inputs(spec, data)
    draft = draft_module(module, spec, x, classes=len(classes))
    return compile_draft(
        draft,
        name=name,
        classes=classes,
        data=data,
        out=out,
        folded=folded,
        extras=extras,
        targets=targets,
        scorers=scorers,
    )


def compile_draft(
    draft: Draft,
    *,
    name: str,
    classes: Sequence[str],
    data: Frames,
    out: Path,
    folded: FoldedLayers = "auto",
    extras: ExtrasRequest = _PLAIN,
    targets: TargetRequest = _ONNX,
    scorers: ScorerRequest = _SCORERS,
) -> Compilation:
    """Compile a model from any source.

    Args:
        draft: the model.
        name: name of the bundle.
        classes: K class names.
        data: frames of the split that the model was fitted on, with or without labels.
        out: the folder; a bundle that is there is replaced whole.
        folded: which layers without a norm layer of their own to use.
        extras: prompts and adapters.
        targets: runtimes and precisions.
        scorers: what says how strange a frame is, and what to calibrate that on.

    Raises:
        CompileError: the model or the data is not as needed; says what was found. `out` is then untouched.
        ConfigError: a scorer is unknown.
    """
    refuse_int8(extras, ("int8",) if targets.int8 else ())
    for frames in (data, scorers.holdout):
        if frames is not None:
            frames.check(draft.spec, len(classes))
    x = parity_inputs(draft.spec, data)
    prepared = prepare(draft, x, classes=len(classes), folded=folded)
    made = lay_out(prepared, draft.spec, data, name=name, classes=classes, request=extras)
    parity = _check(made, prepared.layers, draft, x, extras)
    fitted = _fit(made, data, scorers)
    calibration = calibrate(made.source, made.manifest, data.labels, fitted)
    files = _files(made, calibration.encode())
    compared: Mapping[str, Comparison] = {}
    if not targets.plain:
        extended = extend(Bundle.from_files(files), targets, _some(draft.spec, data, targets))
        files, parity, compared = extended.files, (*parity, *extended.parity), extended.int8
    write_folder(files, out)
    costs = group_costs(made.ground, extras, x[:1]) if made.extras.added_nodes else {}
    return Compilation(
        read_folder(out),
        parity,
        prepared.layers,
        prepared.findings,
        (*fitted.notes, *_notes(prepared, made, data)),
        costs,
        compared,
    )


def _fit(made: OnnxArtifact, data: Frames, request: ScorerRequest) -> Fitted:
    """Scorers of what the model says of its source data, at base values."""
    artifact = made.manifest.artifacts[0]
    holdout = None
    if request.holdout is not None:
        model = made.files[artifact.file] + made.files[artifact.probe_suffix]
        holdout = measure(model, made.manifest, request.holdout)
    head, origin = linear_head(made.manifest.slots, made.base, made.source)
    return fit_scorers(made.source, data.labels, holdout, head, origin, request)


def _notes(prepared: Prepared, made: OnnxArtifact, data: Frames) -> tuple[str, ...]:
    notes = [*prepared.notes, *made.extras.notes, *size_warnings(made.manifest.slots)]
    classes = len(made.manifest.classes)
    missing = classes_without_data(data.labels, classes)
    if missing:
        notes.append(f"prototypes of {missing} of {classes} classes are from the model's own predictions")
    if data.labels is not None:
        notes.append(_accuracy(made.source.logits, data.labels))
    return tuple(notes)


def _accuracy(logits: FloatArray, labels: npt.NDArray[np.integer]) -> str:
    """How often the model is right on labelled source data: where a wrong mean or order of classes shows."""
    share = float((logits.argmax(axis=1) == labels).mean())
    note = f"the model is right on {share:.1%} of the labelled source data"
    if len(labels) < _FEW or share > _GUESSING / logits.shape[1]:
        return note
    return (
        f"{note}, no better than guessing: check how it is prepared (images: --mean, --std, --scale) and the "
        "order of the classes"
    )


def parity_inputs(spec: InputSpec, data: Frames) -> npt.NDArray[np.float32]:
    """The first of the source data as a model takes them: float32 [N, *shape]."""
    count = min(max(_PARITY_VALUES // math.prod(spec.shape), _MIN_PARITY_FRAMES), PARITY_FRAMES)
    return frames_to_input(spec, data.frames[:count])


def _some(spec: InputSpec, data: Frames, targets: TargetRequest) -> npt.NDArray[np.float32]:
    """As many inputs as further artifacts want to see."""
    return frames_to_input(spec, data.sample(targets.frames(math.prod(spec.shape))).frames)


def _check(
    made: OnnxArtifact,
    layers: Sequence[Named],
    draft: Draft,
    x: npt.NDArray[np.float32],
    request: ExtrasRequest,
) -> tuple[ParityFigure, ...]:
    manifest = made.manifest
    branches = Explicit(made.ground, request, made.extras)
    explicit = ExplicitReference(branches, layers, made.plans, manifest.norm_layers, made.base)
    return check_parity(
        manifest.artifacts[0],
        made.files,
        manifest.norm_layers,
        manifest.slots,
        made.base,
        (draft.reference, explicit),
        x,
    )


def _files(made: OnnxArtifact, calibration: bytes) -> Mapping[str, bytes]:
    files = {
        **made.files,
        CALIBRATION_NAME: calibration,
        SLOTS_NAME: encode_tensors(made.base),
    }
    digests = tuple(FileDigest(file, sha256_hex(data), len(data)) for file, data in sorted(files.items()))
    files[MANIFEST_NAME] = encode_manifest(msgspec.structs.replace(made.manifest, files=digests))
    return files
