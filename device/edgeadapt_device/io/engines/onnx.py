"""ONNX Runtime behind the engine's Protocol.

A fast graph and a probe graph, each a session of the runtime; or the probe graph for both, which saves the
memory of the second. Input and outputs of a single frame stay where they are from run to run (bound
arrays), which pays for the checks around it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

from edgeadapt.bundle import Artifact, Bundle, SlotValues
from edgeadapt.errors import BundleError
from edgeadapt.tensors import FloatArray
from edgeadapt_device.config import EngineSection
from edgeadapt_device.io.engines.base import MOMENTS, SCORES, EngineReport, Frames
from edgeadapt_device.io.engines.inputs import Frame, float_fill, model_shape
from edgeadapt_device.io.engines.prepare import (
    choose_artifact,
    give_back_freed,
    in_pieces,
    warm_up,
    widths,
)
from edgeadapt_device.io.engines.providers import CPU, RUNTIME_ERRORS, Providers
from edgeadapt_device.io.engines.session import GraphSession
from edgeadapt_device.io.engines.x86 import PRECISION_KEY, cuts_products

RUNTIME = "onnxruntime"
_LEVELS = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_ERRORS_ONLY = 3


class OnnxGraph:
    """One session of the runtime with the outputs that are wanted of it."""

    def __init__(self, session: Any, bundle: Bundle, artifact: Artifact, outputs: tuple[str, ...]) -> None:
        spec = bundle.manifest.input
        self._session, self._outputs, self._name = session, outputs, spec.name
        self._fill = float_fill(spec, artifact.layout)
        self._shape = model_shape(spec, artifact.layout)
        size = session.get_inputs()[0].shape[0]
        self._size = size if isinstance(size, int) else 0  # frames per run; 0 is any number
        self._widths = widths(bundle)
        self._input: FloatArray = np.empty((1, *self._shape), np.float32)
        self._bound: tuple[FloatArray, ...] = ()
        self._binding: Any = None

    def bind(self) -> None:
        """Keep the arrays of a single frame; after a run has shown that the outputs are as they should be.

        A provider with memory of its own would copy the input when it is bound, and not see the next frame.
        """
        types = {output.type for output in self._session.get_outputs() if output.name in self._outputs}
        if self._session.get_providers() != [CPU] or self._size not in (0, 1) or types != {"tensor(float)"}:
            return
        binding = self._session.io_binding()
        binding.bind_cpu_input(self._name, self._input)
        bound = tuple(np.empty((1, self._widths[name]), np.float32) for name in self._outputs)
        for name, array in zip(self._outputs, bound, strict=True):
            binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        self._bound, self._binding = bound, binding

    def shrink(self) -> None:
        """Run once more, and let go of the memory that nobody uses in that moment."""
        if self._session.get_providers() != [CPU]:
            return
        options = onnxruntime.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        blank = np.zeros((self._size or 1, *self._shape), np.float32)
        self._session.run(self._outputs, {self._name: blank}, options)

    def run(self, frames: Frames) -> list[FloatArray]:
        """The wanted outputs, float32 [N, width]."""
        if self._binding is not None and len(frames) == 1:
            self._fill(frames, self._input)
            self._session.run_with_iobinding(self._binding)
            return [array.copy() for array in self._bound]
        return in_pieces(frames, self._size, self._run) if self._size else self._run(frames)

    def _run(self, frames: Frames) -> list[FloatArray]:
        batch = np.empty((len(frames), *self._shape), np.float32)
        self._fill(frames, batch)
        outputs = self._session.run(self._outputs, {self._name: batch})
        return [np.asarray(output, dtype=np.float32) for output in outputs]


class OnnxSession(GraphSession):
    """A session of ONNX Runtime."""

    errors = RUNTIME_ERRORS


class OnnxEngine:
    """Sessions of one bundle."""

    def __init__(self, bundle: Bundle, settings: EngineSection | None = None) -> None:
        """Choose the artifact.

        Raises:
            BundleError: the bundle has no artifact for ONNX Runtime in the precision that was asked for.
            ConfigError: a provider has a name that the runtime does not know.
        """
        self._settings = settings if settings is not None else EngineSection()
        self._artifact = choose_artifact(bundle, RUNTIME, self._settings.precision)
        self._bundle = bundle
        self._providers = Providers(self._settings.providers)

    @property
    def report(self) -> EngineReport:
        """What the newest session runs on."""
        return EngineReport(
            f"{RUNTIME} {onnxruntime.__version__}",
            self._artifact.precision,
            ", ".join(self._providers.running),
            self._providers.sentences,
        )

    def build(self, values: SlotValues) -> OnnxSession:
        """Build and warm up; raises BundleError when the model does not load or does not fit the manifest."""
        bundle, artifact = self._bundle, self._artifact
        probing = self._open(values, probe=True)
        scoring = probing if self._settings.single_session else self._open(values, probe=False)
        graphs = (
            OnnxGraph(scoring, bundle, artifact, SCORES),
            OnnxGraph(probing, bundle, artifact, SCORES + MOMENTS),
        )
        frame = Frame(bundle.manifest.input)
        session = OnnxSession(frame, *graphs, bundle.inversion(artifact, values))
        warm_up(bundle, session)
        for graph in graphs:
            graph.bind()
        warm_up(bundle, session)
        graphs[1].shrink()
        return session

    def _open(self, values: SlotValues, *, probe: bool) -> Any:
        """A session of the runtime; what its making took is given back before the next one is made."""
        graph = self._bundle.probe_model if probe else self._bundle.fast_model
        model = graph(self._artifact, values)
        size_bytes = len(model)
        session = self._load(model, self._options(probe=probe))
        del model
        give_back_freed(size_bytes)
        return session

    def _options(self, *, probe: bool) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._settings.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        level = _LEVELS[self._settings.optimization]
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        if self._artifact.precision == "int8" and cuts_products():
            options.add_session_config_entry(PRECISION_KEY, "1")
        if probe:
            # Measure each tensor as soon as it is there, or all of them stay alive to the end; and plan no
            # memory ahead. Probe of MobileNetV2: 60 MB less, and 2.1 becomes 1.8 times the fast graph's time.
            options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
            options.enable_mem_pattern = False
        return options

    def _load(self, model: bytes, options: Any) -> Any:
        try:
            return self._providers.open(model, options)
        except RUNTIME_ERRORS as error:
            raise BundleError(f"bundle {self._bundle.manifest.name}: model does not load: {error}") from error
