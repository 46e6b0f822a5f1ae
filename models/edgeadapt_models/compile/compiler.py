"""Turn a trained torch module into a bundle: the only way that bundles are made.

Steps, each in a file of its own: find the norm layers (`norms`), export (`export`), locate the slots' bytes
(`wire_walk`), add the probe (`probe`), check against torch (`parity`), measure the source data (`calibrate`),
write the folder (`write`).
The caller's module is never changed. The format itself is decided in `edgeadapt.bundle`.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from edgeadapt.bundle import (
    CALIBRATION_NAME,
    MANIFEST_NAME,
    SLOTS_NAME,
    Artifact,
    Bundle,
    Copy,
    FileDigest,
    InputSpec,
    Manifest,
    Region,
    encode_manifest,
    read_folder,
)
from edgeadapt.digest import sha256_hex
from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray, encode_tensors
from edgeadapt_models.compile.calibrate import calibrate
from edgeadapt_models.compile.check import check_calibration_data, check_outputs
from edgeadapt_models.compile.graph.export import export_graph
from edgeadapt_models.compile.graph.norms import NormSite, describe_modules, find_norm_sites, read_values
from edgeadapt_models.compile.graph.probe import probe_suffix
from edgeadapt_models.compile.graph.slots import make_slots, norm_layers
from edgeadapt_models.compile.graph.wire_walk import initializer_spans
from edgeadapt_models.compile.parity import ParityFigure, check_parity
from edgeadapt_models.compile.runtime import to_input
from edgeadapt_models.compile.write import write_folder

MODEL_NAME = "model.onnx"
PROBE_NAME = "probe.bin"
_PARITY_IMAGES = 16


@dataclass(frozen=True, slots=True)
class Compilation:
    """A bundle with the figures of its parity check."""

    bundle: Bundle
    parity: tuple[ParityFigure, ...]


@dataclass(frozen=True, slots=True)
class _Graphs:
    """The exported files with what the manifest says of them."""

    files: dict[str, bytes]
    artifact: Artifact
    sites: tuple[NormSite, ...]
    base: dict[str, FloatArray]
    embedding_dim: int


def compile_model(
    module: nn.Module,
    *,
    name: str,
    classes: Sequence[str],
    input_shape: tuple[int, int, int],
    calibration_images: npt.NDArray[np.uint8],
    calibration_labels: npt.NDArray[np.integer],
    out: Path,
) -> Bundle:
    """Compile `module` and write the bundle to the folder `out`.

    Args:
        module: forward takes float32 [N, C, H, W] in [0, 1] and returns (logits [N, K], embedding [N, D]);
            it has BatchNorm or LayerNorm modules. It is compiled as in eval mode, on the CPU.
        name: name of the bundle.
        classes: K class names.
        input_shape: (C, H, W).
        calibration_images: uint8 [N, H, W, C] of the split that the model was fitted on; a few thousand.
        calibration_labels: [N] integers in 0..K-1; every class must occur.
        out: the folder; a bundle that is there is replaced whole.

    Returns:
        The bundle as read back from `out`.

    Raises:
        CompileError: the model or the data is not as needed; says what was found. `out` is then untouched.
    """
    return compile_with_report(
        module,
        name=name,
        classes=classes,
        input_shape=input_shape,
        calibration_images=calibration_images,
        calibration_labels=calibration_labels,
        out=out,
    ).bundle


def compile_with_report(
    module: nn.Module,
    *,
    name: str,
    classes: Sequence[str],
    input_shape: tuple[int, int, int],
    calibration_images: npt.NDArray[np.uint8],
    calibration_labels: npt.NDArray[np.integer],
    out: Path,
) -> Compilation:
    """As `compile_model`, with the parity figures."""
    check_calibration_data(calibration_images, calibration_labels, input_shape, len(classes))
    reference = _reference(module)
    x = to_input(calibration_images[:_PARITY_IMAGES])
    graphs = _export(reference, x, len(classes))
    manifest = _manifest(graphs, name, tuple(classes), input_shape)
    parity = check_parity(
        reference, graphs.sites, graphs.base, graphs.files, graphs.artifact, manifest.norm_layers, x
    )
    probe_model = graphs.files[MODEL_NAME] + graphs.files[PROBE_NAME]
    calibration = calibrate(probe_model, manifest, calibration_images, calibration_labels)
    files = {
        **graphs.files,
        CALIBRATION_NAME: calibration.encode(),
        SLOTS_NAME: encode_tensors(graphs.base),
    }
    digests = tuple(FileDigest(file, sha256_hex(data), len(data)) for file, data in sorted(files.items()))
    files[MANIFEST_NAME] = encode_manifest(msgspec.structs.replace(manifest, files=digests))
    write_folder(files, out)
    return Compilation(read_folder(out), parity)


def _reference(module: nn.Module) -> nn.Module:
    """A frozen copy in eval mode on the CPU."""
    try:
        return copy.deepcopy(module).cpu().eval().requires_grad_(False)
    except (RuntimeError, TypeError, ValueError, AttributeError, pickle.PickleError) as error:
        raise CompileError(
            f"the model cannot be copied: {type(error).__name__}: {error}; give a plain torch module, not "
            "TorchScript (torch.jit), whose lazy layers have run once; "
            f"found: {describe_modules(module)}"
        ) from error


def _export(module: nn.Module, x: FloatArray, classes: int) -> _Graphs:
    example = torch.from_numpy(x)
    embedding_dim, inputs = check_outputs(module, example, classes)
    sites = find_norm_sites(module, inputs)
    base = read_values(module, sites)
    model = export_graph(module, example, sites, base)
    data: bytes = model.SerializeToString(deterministic=True)
    files = {MODEL_NAME: data, PROBE_NAME: probe_suffix(model, sites)}
    writes = _writes(data, base)
    artifact = Artifact("onnxruntime", MODEL_NAME, PROBE_NAME, writes, tuple("input" for _ in sites))
    return _Graphs(files, artifact, sites, base, embedding_dim)


def _writes(model: bytes, base: dict[str, FloatArray]) -> tuple[Copy, ...]:
    """Locate every slot; what lies there must be its base value."""
    spans = initializer_spans(model)
    for name, value in base.items():
        span = spans.get(name)
        if span is None or model[span.offset : span.end] != value.astype("<f4").tobytes():
            raise CompileError(f"slot {name!r} is not stored in the exported model as it should be")
    return tuple(Copy(name, Region(spans[name].offset, value.shape)) for name, value in base.items())


def _manifest(
    graphs: _Graphs, name: str, classes: tuple[str, ...], input_shape: tuple[int, int, int]
) -> Manifest:
    return Manifest(
        name=name,
        classes=classes,
        input=InputSpec(input_shape),
        embedding_dim=graphs.embedding_dim,
        slots=make_slots(graphs.sites, graphs.base),
        norm_layers=norm_layers(graphs.sites),
        artifacts=(graphs.artifact,),
        files=(),
    )
