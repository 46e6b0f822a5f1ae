"""A bundle's model files taken out: written as they run, or loaded to see that they do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgeadapt.bundle import Artifact, Bundle
from edgeadapt.errors import CompileError
from edgeadapt_models.compile.runtime import Runner
from edgeadapt_models.train.atomic import replace_bytes

GRAPHS = ("fast", "probe")


def extract(bundle: Bundle, artifact: Artifact, out: Path, *, probe: bool = False) -> None:
    """Write the base model, with every fold done, whole or not at all.

    Args:
        bundle: any bundle.
        artifact: one of its artifacts.
        out: the file.
        probe: ONNX: whether the file also returns the moments of the norm layers; a LiteRT file always holds
            both, as signatures.

    Raises:
        CompileError: the file cannot be written.
    """
    build = bundle.probe_model if probe else bundle.fast_model
    try:
        replace_bytes(out, build(artifact, {}))
    except OSError as error:
        raise CompileError(f"{out} cannot be written: {error}") from error


def load_artifact(bundle: Bundle, artifact: Artifact) -> Mapping[str, tuple[str, ...]]:
    """Run both graphs of an artifact on one frame of zeros: the outputs of each.

    Raises:
        CompileError: the runtime refuses the model, or is not installed.
    """
    frame = np.zeros((1, *bundle.manifest.input.shape), np.float32)
    if artifact.runtime == "onnxruntime":
        models = (bundle.fast_model(artifact, {}), bundle.probe_model(artifact, {}))
        return {graph: tuple(Runner(model).run(frame)) for graph, model in zip(GRAPHS, models, strict=True)}
    try:
        from edgeadapt_models.compile.tflite.runtime import TfliteRunner, to_layout
    except ImportError as error:
        raise CompileError(f"LiteRT is not installed: pip install 'edgeadapt[tflite]' ({error})") from error
    runner = TfliteRunner(bundle.fast_model(artifact, {}))
    return {graph: tuple(sorted(runner.run(graph, to_layout(artifact, frame)))) for graph in GRAPHS}
