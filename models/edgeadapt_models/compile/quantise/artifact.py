"""The int8 ONNX artifact of a bundle, from its float one: same slots, same patch, weights of one byte.

    find_kernels     what becomes int8, each with its norm layer           (`kernels`)
    choose_places    which tensors are held in 8 bits                      (`places`)
    calibrate        their scales, from the float model and source images  (`calibrated`)
    build_graph      QuantizeLinear and DequantizeLinear around them       (`qdq`)
    int8_writes      how a patch gets into scales and biases               (`int8_writes`)
    Int8Probe        what a device measures                                (`probe`)

Whether the result says what the float model says is measured in `compare`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeadapt.bundle import Artifact
from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.quantise.calibrated import calibrated_params
from edgeadapt_models.compile.quantise.graph import FloatArtifact, FloatGraph
from edgeadapt_models.compile.quantise.int8_writes import int8_writes
from edgeadapt_models.compile.quantise.kernels import find_kernels
from edgeadapt_models.compile.quantise.places import choose_places
from edgeadapt_models.compile.quantise.probe import Int8Probe
from edgeadapt_models.compile.quantise.qdq import build_graph
from edgeadapt_models.compile.quantise.ranges import Method

INT8_NAME = "model.int8.onnx"
INT8_PROBE_NAME = "probe.int8.bin"


@dataclass(frozen=True, slots=True)
class QuantisedModel:
    """An int8 artifact.

    Attributes:
        files: its files by name.
        artifact: what the manifest says of it.
        int8: names of the weights that became int8.
        kept: names of kernels' weights that stay float, with the reason.
    """

    files: Mapping[str, bytes]
    artifact: Artifact
    int8: tuple[str, ...]
    kept: Mapping[str, str]


def quantised_artifact(
    source: FloatArtifact,
    frames: FloatArray,
    *,
    limits: tuple[float, float] | None,
    method: Method = "mse",
) -> QuantisedModel:
    """Make the int8 artifact.

    Args:
        source: the float ONNX artifact, with everything in it that the bundle will have.
        frames: float32 [N, ...] as the model takes them, of the source domain; a few hundred.
        limits: least and greatest value of the input where they are known: (0, 1) for images.
        method: how ranges are cut, see `ranges`.

    Raises:
        CompileError: nothing in the model can be int8, there are too few frames, or a tensor is not finite.
    """
    graph = FloatGraph(source)
    kernels, kept = find_kernels(graph)
    if not kernels:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in kept.items())
        raise CompileError(
            "nothing in this model can be int8: " + (reasons or "it has no convolution or matrix product")
        )
    places = choose_places(graph, kernels)
    movable = {name for name in graph.constants() if graph.writes_on(name)}
    params = calibrated_params(
        source.base_model(), frames, places.roots(), limits=limits, movable=movable, method=method
    )
    int8 = build_graph(graph, kernels, places, params)
    data: bytes = int8.model.SerializeToString(deterministic=True)
    probe = Int8Probe(graph, kernels, places, int8)
    artifact = Artifact(
        runtime="onnxruntime",
        file=INT8_NAME,
        probe_suffix=INT8_PROBE_NAME,
        writes=int8_writes(graph, kernels, int8, data),
        measured=probe.measured,
        precision="int8",
        layout=source.artifact.layout,
    )
    files = {INT8_NAME: data, INT8_PROBE_NAME: probe.suffix}
    return QuantisedModel(files, artifact, tuple(k.node.input[1] for k in kernels.values()), kept)
