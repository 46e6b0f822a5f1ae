"""The LiteRT artifact of a bundle, from its ONNX artifact: same slots, same patch, same outputs.

Steps, each in a room of its own: what the graph's values are at batch 1 (`lower.trace`), which norm layers
are folded (`lower.sites`), the operators (`ops`) of both subgraphs (`subgraphs`), the bytes
(`file.flatbuffer`), and the writes (`writes`). Whether the result computes what the ONNX artifact does is
measured in `check`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from edgeadapt.bundle import Artifact, NormLayer
from edgeadapt_models.compile.tflite.file.flatbuffer import TfliteFile, serialise
from edgeadapt_models.compile.tflite.file.program import Program
from edgeadapt_models.compile.tflite.lower.rewrite import rewritten
from edgeadapt_models.compile.tflite.lower.sites import find_batch_norms, measure_results
from edgeadapt_models.compile.tflite.lower.source import Source
from edgeadapt_models.compile.tflite.lower.trace import trace
from edgeadapt_models.compile.tflite.subgraphs import FAST, PROBE, lower
from edgeadapt_models.compile.tflite.writes import Initializers, translate

TFLITE_NAME = "model.tflite"


@dataclass(frozen=True, slots=True)
class TfliteModel:
    """A LiteRT model.

    Attributes:
        file: its bytes, and where its constants lie.
        artifact: what the manifest says of it.
        program: what is in it.
    """

    file: TfliteFile
    artifact: Artifact
    program: Program

    @property
    def data(self) -> bytes:
        """Bytes of the file."""
        return self.file.data


def tflite_model(
    data: bytes, suffix: bytes, source: Artifact, layers: Sequence[NormLayer], *, image: bool
) -> TfliteModel:
    """Make the LiteRT artifact.

    Args:
        data: bytes of the ONNX file that `source` describes.
        suffix: bytes of its probe suffix.
        source: the ONNX artifact (float32).
        layers: the manifest's norm layers.
        image: whether the model takes images; the LiteRT file then takes them as [1, H, W, C].

    Raises:
        CompileError: an operator or a slot that LiteRT cannot have; says which and where.
    """
    model, probe = onnx.load_from_string(data), onnx.load_from_string(data + suffix)
    initializers = Initializers.of(model, data)
    known = trace(probe, initializers.mutable(source.writes))
    norms = find_batch_norms(Source.of(model.graph, known), layers, initializers.copied(source.writes))
    measure_results(probe.graph, len(model.graph.node), norms.folds)
    graphs = {
        FAST: rewritten(Source.of(model.graph, known)),
        PROBE: rewritten(Source.of(probe.graph, known)),
    }
    program, ledger = lower(graphs, norms, turned=image and source.layout == "NCHW")
    file = serialise(program)
    artifact = Artifact(
        "tflite",
        TFLITE_NAME,
        "",
        translate(source.writes, layers, initializers, ledger, file, program.constants),
        tuple(
            "output" if norms.folded(layer.name) else place
            for layer, place in zip(layers, source.measured, strict=True)
        ),
        layout="NHWC" if image else "NCHW",
    )
    return TfliteModel(file, artifact, program)
