"""Bundles with a model for every engine, and variants: arrays, fixed batches, other orders of axes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import msgspec
import onnx
from onnx import helper

from edgeadapt.bundle import (
    CALIBRATION_NAME,
    MANIFEST_NAME,
    SLOTS_NAME,
    Artifact,
    Bundle,
    FileDigest,
    Manifest,
    Region,
    encode_manifest,
)
from edgeadapt.bundle.writes import Write
from edgeadapt.digest import sha256_hex
from edgeadapt.tensors import encode_tensors
from edgeadapt_models.compile.graph.wire_walk import initializer_spans
from edgeadapt_models.compile.tflite import TFLITE_NAME, tflite_model


def files_of(bundle: Bundle) -> dict[str, bytes]:
    """Every file of a bundle, with the digest of each in the manifest made anew."""
    slots = encode_tensors(dict(bundle.slots))
    content = {**bundle.files, CALIBRATION_NAME: bundle.calibration.encode(), SLOTS_NAME: slots}
    digests = tuple(FileDigest(name, sha256_hex(data), len(data)) for name, data in content.items())
    encoded = encode_manifest(msgspec.structs.replace(bundle.manifest, files=digests))
    return {MANIFEST_NAME: encoded, **content}


def bundle_of(manifest: Manifest, files: Mapping[str, bytes], like: Bundle) -> Bundle:
    """A bundle of these files with the calibration and slots of another."""
    return Bundle.from_files(files_of(dataclasses.replace(like, manifest=manifest, files=files)))


def with_tflite(bundle: Bundle, *, channels_last: bool = True) -> Bundle:
    """The bundle with a LiteRT artifact beside the one for ONNX Runtime."""
    source, manifest = bundle.artifact("onnxruntime"), bundle.manifest
    data, suffix = bundle.files[source.file], bundle.files[source.probe_suffix]
    model = tflite_model(data, suffix, source, manifest.norm_layers, image=channels_last)
    artifacts = (*manifest.artifacts, model.artifact)
    return bundle_of(
        msgspec.structs.replace(manifest, artifacts=artifacts),
        {**bundle.files, TFLITE_NAME: model.data},
        bundle,
    )


def as_array(bundle: Bundle) -> Bundle:
    """The same model as one that takes float32 arrays of the same shape."""
    spec = msgspec.structs.replace(bundle.manifest.input, kind="array")
    return bundle_of(msgspec.structs.replace(bundle.manifest, input=spec), bundle.files, bundle)


def onnx_only(bundle: Bundle, edit: Callable[[onnx.ModelProto], None], **changes: object) -> Bundle:
    """The bundle with an edited ONNX graph alone; `changes` are of its artifact."""
    artifact = bundle.artifact("onnxruntime")
    model = onnx.load_from_string(bundle.files[artifact.file])
    edit(model)
    data: bytes = model.SerializeToString(deterministic=True)
    names = {span.offset: name for name, span in initializer_spans(bundle.files[artifact.file]).items()}
    spans = initializer_spans(data)

    def moved(region: Region) -> Region:
        return msgspec.structs.replace(region, offset=spans[names[region.offset]].offset)

    edited: Artifact = msgspec.structs.replace(
        artifact, writes=tuple(_relocated(write, moved) for write in artifact.writes), **changes
    )
    files = {artifact.file: data, artifact.probe_suffix: bundle.files[artifact.probe_suffix]}
    return bundle_of(msgspec.structs.replace(bundle.manifest, artifacts=(edited,)), files, bundle)


def _relocated(write: Write, moved: Callable[[Region], Region]) -> Write:
    """The write with its regions where they are now."""
    fields = {name: getattr(write, name) for name in write.__struct_fields__}
    regions = {name: moved(value) for name, value in fields.items() if isinstance(value, Region)}
    return msgspec.structs.replace(write, **regions)


def fixed_batch(bundle: Bundle, size: int) -> Bundle:
    """An ONNX model that takes exactly `size` frames."""

    def edit(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = size

    return onnx_only(bundle, edit)


def channels_last(bundle: Bundle) -> Bundle:
    """An ONNX model whose input is [N, H, W, C]."""

    def edit(model: onnx.ModelProto) -> None:
        graph = model.graph
        shape = graph.input[0].type.tensor_type.shape
        name, (_, channels, height, width) = graph.input[0].name, [dim.dim_value for dim in shape.dim]
        for node in graph.node:
            for index, value in enumerate(node.input):
                node.input[index] = "first" if value == name else value
        for dim, value in zip(shape.dim[1:], (height, width, channels), strict=True):
            dim.dim_value = value
        graph.node.insert(0, helper.make_node("Transpose", [name], ["first"], perm=[0, 3, 1, 2]))

    return onnx_only(bundle, edit, layout="NHWC")
