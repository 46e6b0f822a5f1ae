"""LiteRT behind the engine's Protocol.

One interpreter holds both graphs, as signatures "fast" and "probe" that share their weights. An interpreter
is not thread-safe and takes one frame at a time: a session locks it and loops over a batch. The default
delegate (XNNPACK) is left on. Models with integer inputs or outputs are fed and read with the scales that
they carry.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgeadapt.bundle import Artifact, Bundle, SlotValues
from edgeadapt.errors import BundleError, ConfigError
from edgeadapt.tensors import FloatArray
from edgeadapt_device.config import EngineSection
from edgeadapt_device.io.engines.base import MOMENTS, SCORES, EngineReport, Frames
from edgeadapt_device.io.engines.inputs import Fill, Frame, float_fill, integer_fill
from edgeadapt_device.io.engines.litert import find_library
from edgeadapt_device.io.engines.prepare import choose_artifact, give_back_freed, in_pieces, warm_up
from edgeadapt_device.io.engines.session import GraphSession

RUNTIME = "tflite"
FAST, PROBE = "fast", "probe"
_ERRORS = (RuntimeError, ValueError, TypeError, KeyError, MemoryError)


class TfliteGraph:
    """One signature of an interpreter."""

    def __init__(self, interpreter: Any, signature: str, bundle: Bundle, artifact: Artifact) -> None:
        """Look up its tensors; raises one of _ERRORS when they are not there."""
        self._interpreter, self._signature = interpreter, signature
        runner = interpreter.get_signature_runner(signature)
        ((self._name, entry),) = runner.get_input_details().items()
        self._outputs = SCORES + (MOMENTS if signature == PROBE else ())
        details = runner.get_output_details()
        self._details = tuple(details[name] for name in self._outputs)
        self._index, self._size = int(entry["index"]), int(entry["shape"][0])
        self._batch: npt.NDArray[Any] = np.empty(tuple(entry["shape"]), entry["dtype"])
        self._fill = _fill(bundle, artifact, entry)
        first = {int(detail["index"]) for detail in interpreter.get_output_details()}
        self._first = first == {int(detail["index"]) for detail in self._details}

    def run(self, frames: Frames) -> list[FloatArray]:
        """The outputs of SCORES, and those of MOMENTS from the probe; float32 [N, width]."""
        run = self._run_first if self._first else self._run_named
        return run(frames) if len(frames) == self._size else in_pieces(frames, self._size, run)

    def _run_first(self, frames: Frames) -> list[FloatArray]:
        """The first graph of a file needs no names; no view of a tensor may be alive while it runs."""
        self._fill(frames, self._interpreter.tensor(self._index)())
        self._interpreter.invoke()
        return [_real(self._interpreter.get_tensor(d["index"]), d) for d in self._details]

    def _run_named(self, frames: Frames) -> list[FloatArray]:
        """A runner that were kept would count as a view, and the first graph refuse to run."""
        self._fill(frames, self._batch)
        outputs = self._interpreter.get_signature_runner(self._signature)(**{self._name: self._batch})
        return [
            _real(outputs[name], detail) for name, detail in zip(self._outputs, self._details, strict=True)
        ]


class TfliteSession(GraphSession):
    """An interpreter with both graphs."""

    errors = _ERRORS


class TfliteEngine:
    """Sessions of one bundle."""

    def __init__(self, bundle: Bundle, settings: EngineSection | None = None) -> None:
        """Choose the artifact and find the library.

        Raises:
            BundleError: the bundle has no artifact for LiteRT in the precision that was asked for.
            ModuleNotFoundError: neither `ai_edge_litert` nor `tflite_runtime` is installed.
        """
        self._settings = settings if settings is not None else EngineSection(runtime=RUNTIME)
        self._artifact = choose_artifact(bundle, RUNTIME, self._settings.precision)
        self._library = find_library()
        self._bundle = bundle

    @property
    def report(self) -> EngineReport:
        """What the newest session runs on."""
        ignored = [
            name for name in self._settings.providers if name.lower() not in ("cpu", "cpuexecutionprovider")
        ]
        refused = tuple(f"{name} does not run: execution providers are ONNX Runtime's" for name in ignored)
        return EngineReport(self._library.title, self._artifact.precision, "CPU", refused)

    def build(self, values: SlotValues) -> TfliteSession:
        """Build and warm up.

        Raises:
            BundleError: the model does not load or does not fit the manifest.
            ConfigError: the library does not work with this NumPy.
        """
        bundle, artifact = self._bundle, self._artifact
        model = bundle.fast_model(artifact, values)
        try:
            interpreter = self._library.interpreter(model_content=model, num_threads=self._settings.threads)
            interpreter.allocate_tensors()
            fast, probe = (TfliteGraph(interpreter, name, bundle, artifact) for name in (FAST, PROBE))
        except _ERRORS as error:
            raise BundleError(f"bundle {bundle.manifest.name}: model does not load: {error}") from error
        except SystemError as error:
            # How `tflite_runtime`, which is built for NumPy 1, answers where there is a newer one.
            raise ConfigError(
                f"engine.runtime: {self._library.title} does not work with NumPy {np.__version__}: "
                "pip install ai-edge-litert, or 'numpy<2'"
            ) from error
        session = TfliteSession(Frame(bundle.manifest.input), fast, probe, bundle.inversion(artifact, values))
        warm_up(bundle, session)
        give_back_freed(len(model))
        return session


def _fill(bundle: Bundle, artifact: Artifact, entry: dict[str, Any]) -> Fill:
    spec = bundle.manifest.input
    if entry["dtype"] is np.float32:
        return float_fill(spec, artifact.layout)
    scale, zero = entry["quantization"]
    return integer_fill(spec, artifact.layout, scale, zero, entry["dtype"])


def _real(value: npt.NDArray[Any], detail: dict[str, Any]) -> FloatArray:
    """A tensor as float32; integers by the scale that they carry."""
    if value.dtype == np.float32:
        return value
    scale, zero = detail["quantization"]
    result: FloatArray = (value.astype(np.float32) - np.float32(zero)) * np.float32(scale)
    return result
