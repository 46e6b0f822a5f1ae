"""The ONNX artifact: slots placed, bytes laid out, writes located, and what the manifest says of it all.

Statistics are measured: the base mean and variance of every layer that keeps any are the moments of its own
input on the source data, and its scale and bias are such that it computes what it did before. Training
statistics are those of augmented images, so a device that compared its own with them would see a shift at
home; and moments replaced all at once would not fit each other (docs/adr/0008). A folded layer gets the
moments of its raw output, and a scale and bias that undo them. Further slots (prompts, adapters, the head)
come from `extras`; their writes run first, since a norm layer scales what an adapter adds to a kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from edgeadapt.bundle import Artifact, InputSpec, Manifest, NormLayer
from edgeadapt.bundle.folds import gain_and_shift
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.analyse.sites import FoldedSite, NormSite
from edgeadapt_models.compile.calibrate import Moments, Source, measure
from edgeadapt_models.compile.extras.attach import ground_of, measured_tensors
from edgeadapt_models.compile.extras.build import Ground, add_extras
from edgeadapt_models.compile.extras.plan import Extras
from edgeadapt_models.compile.extras.request import ExtrasRequest
from edgeadapt_models.compile.graph.locate import locate
from edgeadapt_models.compile.graph.place import AffinePlan, Named, Plan, place
from edgeadapt_models.compile.graph.probe import probe_suffix
from edgeadapt_models.compile.graph.slots import make_slots, norm_layers
from edgeadapt_models.compile.prepare import Prepared
from edgeadapt_models.compile.runtime import frames_to_input
from edgeadapt_models.compile.source.frames import Frames

Vector: TypeAlias = npt.NDArray[np.float64]

MODEL_NAME = "model.onnx"
PROBE_NAME = "probe.bin"
_SCALE_FRAMES = 16


@dataclass(frozen=True, slots=True)
class OnnxArtifact:
    """A laid out model.

    Attributes:
        model: the graph; slots are initializers of their own.
        ground: the graph before extras were built into it, and what is known of it.
        extras: what was built into it.
        plans: what is written where.
        files: the model and the probe suffix.
        manifest: complete but for the digests of files.
        base: the base value of every slot.
        source: what the model says of the source data.
    """

    model: onnx.ModelProto
    ground: Ground
    extras: Extras
    plans: tuple[Plan, ...]
    files: Mapping[str, bytes]
    manifest: Manifest
    base: Mapping[str, FloatArray]
    source: Source


def lay_out(
    prepared: Prepared,
    spec: InputSpec,
    data: Frames,
    *,
    name: str,
    classes: Sequence[str],
    request: ExtrasRequest,
) -> OnnxArtifact:
    """Lay a prepared graph out as an artifact; the graph is not changed.

    Raises:
        CompileError: a base value or an output is not finite, or an extra cannot be had from this model.
    """
    placed = onnx.ModelProto()
    placed.CopyFrom(prepared.model)
    plans = place(placed, prepared.layers)
    x = frames_to_input(spec, data.frames[:_SCALE_FRAMES])
    ground = ground_of(placed, prepared.layers, plans, prepared.findings.head, spec, x)
    extras = add_extras(ground, request)
    model = extras.model
    raw: bytes = model.SerializeToString(deterministic=True)
    measured = measured_tensors(prepared.layers, extras.probe)
    probe = extras.probe.suffix() + probe_suffix(model, measured)
    layers = norm_layers(prepared.layers)
    outline = Manifest(name, tuple(classes), spec, prepared.embedding_dim, (), layers, (), ())
    if extras.probe.signature:
        outline = msgspec.structs.replace(outline, signature_offset=outline.layer_channels)
    source = measure(raw + probe, outline, data)
    norms = _base(model, prepared.layers, layers, plans, source.moments)
    for graph in (model.graph, placed.graph):
        _store(graph, norms)
    raw = model.SerializeToString(deterministic=True)
    writes = (*extras.writes(raw), *locate(model, raw, plans, norms))
    places = tuple(_place(layer) for layer in prepared.layers)
    artifact = Artifact("onnxruntime", MODEL_NAME, PROBE_NAME, writes, places)
    slots = (*make_slots(prepared.layers, norms), *extras.slots)
    manifest = msgspec.structs.replace(outline, slots=slots, artifacts=(artifact,))
    files = {MODEL_NAME: raw, PROBE_NAME: probe}
    base = {**norms, **extras.base}
    return OnnxArtifact(model, ground, extras, plans, files, manifest, base, source)


def _place(layer: Named) -> Literal["input", "output"]:
    return "output" if isinstance(layer.site, FoldedSite) else "input"


def _base(
    model: onnx.ModelProto,
    found: Sequence[Named],
    layers: Sequence[NormLayer],
    plans: Sequence[Plan],
    moments: Moments,
) -> dict[str, FloatArray]:
    """Base values of all norm slots."""
    base: dict[str, FloatArray] = {}
    affine = {plan.layer: plan for plan in plans if isinstance(plan, AffinePlan)}
    for entry, layer in zip(found, layers, strict=True):
        if isinstance(entry.site, NormSite) and not layer.mean:
            base.update(entry.base)
            continue
        part = slice(layer.probe_offset, layer.probe_offset + layer.channels)
        # Rounded first: what is stored must undo what is stored.
        mean, var = (m[part].astype(np.float32).astype(np.float64) for m in (moments.mean, moments.var))
        gain: Vector = np.ones(layer.channels)
        shift: Vector = np.zeros(layer.channels)
        if isinstance(entry.site, NormSite):
            gain, shift = gain_and_shift(layer, lambda name: entry.base[name].astype(np.float64))  # noqa: B023
        elif entry.name in affine:
            plan = affine[entry.name]
            gain, shift = _held(model, plan.scale), _held(model, plan.shift)
        values = (gain * np.sqrt(var + layer.epsilon), shift + gain * mean, mean, var)
        names = (layer.scale, layer.bias, layer.mean, layer.var)
        base.update((n, v.astype(np.float32)) for n, v in zip(names, values, strict=True))
    return base


def _store(graph: onnx.GraphProto, values: Mapping[str, FloatArray]) -> None:
    """Give initializers that bear a slot's name its value; no byte of the file moves."""
    for tensor in graph.initializer:
        if tensor.name in values:
            tensor.raw_data = values[tensor.name].astype("<f4").tobytes()


def _held(model: onnx.ModelProto, name: str) -> Vector:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    return np.asarray(numpy_helper.to_array(tensor), dtype=np.float64).reshape(-1)
