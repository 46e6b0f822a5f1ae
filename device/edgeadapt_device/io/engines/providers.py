"""ONNX Runtime's execution providers: names as people write them, and what became of each that was asked for.

The runtime itself falls back to the CPU without a word to the program: a provider that is not in the build
is dropped with a warning, one that cannot start (no driver, no library) with a line on stderr, and one that
starts may still leave every operator to the CPU. Here every provider that was asked for either runs, and what
share of the operators it takes is said, or is given a reason why it does not.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_state

from edgeadapt.errors import ConfigError

CPU = "CPUExecutionProvider"
_SUFFIX = "ExecutionProvider"
_RECORD = "session.record_ep_graph_assignment_info"
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
        running: what the newest session computes with, in order, and how much of it where that is known;
            before the first, what was asked for.
        refused: provider to the reason why it does not run.
    """

    def __init__(self, wanted: Sequence[str]) -> None:
        """`wanted` in order of preference, by short or full names; raises ConfigError on an unknown one."""
        names = full_names(wanted)
        place = names.index(CPU) if CPU in names else len(names)
        self._wanted = names[:place]
        self.running = self._wanted or (CPU,)
        self.refused: dict[str, str] = dict.fromkeys(
            names[place + 1 :], "it is named after the CPU, which takes whatever is left"
        )

    def open(self, model: bytes, options: Any) -> Any:
        """An `onnxruntime.InferenceSession`; raises one of RUNTIME_ERRORS when not even the CPU takes it."""
        available = onnxruntime.get_available_providers()
        for name in self._wanted:
            if name not in available:
                has = ", ".join(each.removesuffix(_SUFFIX) for each in available)
                self.refused[name] = f"this build of ONNX Runtime has none (it has: {has})"
        while names := [name for name in self._wanted if name not in self.refused]:
            try:
                if _can_count():
                    options.add_session_config_entry(_RECORD, "1")
                session = _session(model, options, [*names, CPU])
            except RUNTIME_ERRORS as error:
                self.refused[names[0]] = f"it could not open the model: {_first_line(error)}"
                continue
            started = session.get_providers()
            for name in names:
                if name not in started:
                    self.refused[name] = "it did not start; ONNX Runtime says why on stderr"
            running = [name for name in names if name in started]
            taken = _operators(session)
            if self._refuse_idle(running, taken):
                continue
            self.running = tuple(_titled(name, taken) for name in running) or (CPU,)
            return session
        self.running = (CPU,)
        return _session(model, options, [CPU])

    def _refuse_idle(self, running: Sequence[str], taken: Mapping[str, int]) -> bool:
        """Whether one that started takes no operator, though none before it does either."""
        first = next((place for place, name in enumerate(running) if taken.get(name)), len(running))
        idle = running[:first] if taken else ()
        for name in idle:
            self.refused[name] = f"it takes none of the model's {sum(taken.values())} operators"
        return bool(idle)

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


def _can_count() -> bool:
    # Older releases do not tell.
    return hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info")


def _operators(session: Any) -> Mapping[str, int]:
    """How many operators each provider takes; empty where the runtime does not tell."""
    if not _can_count():
        return {}
    counts: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] += len(part.get_nodes())
    return counts


def _titled(name: str, taken: Mapping[str, int]) -> str:
    total = sum(taken.values())
    return f"{name} ({taken.get(name, 0)} of {total} operators)" if total else name


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
