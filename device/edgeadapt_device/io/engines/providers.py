"""ONNX Runtime's execution providers: names as people write them, and what became of each that was asked for.

The runtime itself falls back to the CPU without a word to the program: a provider that is not in the build
is dropped with a warning, one that cannot start (no driver, no library) with a line on stderr. Here every
provider that was asked for either runs or is given a reason why it does not.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_state

from edgeadapt.errors import ConfigError

CPU = "CPUExecutionProvider"
_SUFFIX = "ExecutionProvider"
# The runtime's exceptions have no base of their own, and older releases lack some of them.
_ERROR_NAMES = (
    "EPFail",
    "EngineError",
    "Fail",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "NoModel",
    "NoSuchFile",
    "NotFound",
    "NotImplemented",
    "RuntimeException",
)
RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    MemoryError,
    *(getattr(runtime_state, name) for name in _ERROR_NAMES if hasattr(runtime_state, name)),
)


def full_names(names: Sequence[str]) -> tuple[str, ...]:
    """Full names of providers, such as "CUDAExecutionProvider" for "cuda"; each once, in order.

    Raises:
        ConfigError: ONNX Runtime knows no such provider; lists those it knows.
    """
    known = {*onnxruntime.get_all_providers(), *onnxruntime.get_available_providers()}
    by_lower = {name.lower(): name for name in known}
    found: dict[str, None] = {}
    for name in names:
        lower = name.lower()
        full = by_lower.get(lower, by_lower.get(lower + _SUFFIX.lower()))
        if full is None:
            short = ", ".join(sorted(each.removesuffix(_SUFFIX) for each in known))
            raise ConfigError(f"engine.providers: unknown provider {name!r}; ONNX Runtime knows: {short}")
        found[full] = None
    return tuple(found)


class Providers:
    """Opens sessions on the first providers that run.

    Attributes:
        running: what the newest session computes with, in order; before the first, what was asked for.
        refused: provider to the reason why it does not run.
    """

    def __init__(self, wanted: Sequence[str]) -> None:
        """`wanted` in order of preference, by short or full names; raises ConfigError on an unknown one."""
        names = full_names(wanted)
        # The CPU takes whatever is left, so nothing after it has a turn.
        self._wanted = names[: names.index(CPU)] if CPU in names else names
        self.running = self._wanted or (CPU,)
        self.refused: dict[str, str] = {}

    def open(self, model: bytes, options: Any) -> Any:
        """An `onnxruntime.InferenceSession`; raises one of RUNTIME_ERRORS when not even the CPU takes it."""
        available = onnxruntime.get_available_providers()
        for name in self._wanted:
            if name not in available:
                has = ", ".join(each.removesuffix(_SUFFIX) for each in available)
                self.refused[name] = f"this build of ONNX Runtime has none (it has: {has})"
        while names := [name for name in self._wanted if name not in self.refused]:
            try:
                session = _session(model, options, [*names, CPU])
            except RUNTIME_ERRORS as error:
                self.refused[names[0]] = f"it could not open the model: {_first_line(error)}"
                continue
            started = session.get_providers()
            for name in names:
                if name not in started:
                    self.refused[name] = "it did not start; ONNX Runtime says why on stderr"
            self.running = tuple(name for name in names if name in started) or (CPU,)
            return session
        self.running = (CPU,)
        return _session(model, options, [CPU])

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was refused, for people."""
        return tuple(f"{name} does not run: {reason}" for name, reason in self.refused.items())


def _session(model: bytes, options: Any, providers: list[str]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a provider is missing is found out, and said, here
        session = onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=0)
    # The session keeps the file's bytes for a fallback that is switched off.
    session._model_bytes = None
    return session


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
