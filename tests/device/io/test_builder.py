"""Every request gets an answer, whatever a build runs into."""

from __future__ import annotations

import queue
import sys
import threading

import pytest

from edgeadapt.bundle import SlotValues
from edgeadapt.errors import BundleError
from edgeadapt_device.core.events import GenerationFailed, GenerationReady, Image
from edgeadapt_device.io.builder import Builder
from edgeadapt_device.io.engines import EngineReport, Scores, Session


class _NoSession:
    def run(self, images: Image, *, probe: bool) -> Scores:
        raise AssertionError("nobody scores here")


class _Engine:
    """Fails with each of `errors` in turn, then builds."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)

    @property
    def report(self) -> EngineReport:
        return EngineReport("none 1.0", "float32", "nothing")

    def build(self, values: SlotValues) -> Session:
        if self._errors:
            raise self._errors.pop(0)
        return _NoSession()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BundleError("does not fit"), "does not fit"),
        (MemoryError("no room"), "MemoryError: no room"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_a_build_that_fails_is_answered_and_the_next_one_is_done(error: Exception, words: str) -> None:
    answers: queue.SimpleQueue[tuple[GenerationReady | GenerationFailed, Session | None]]
    answers = queue.SimpleQueue()
    builder = Builder(_Engine(error), lambda event, session: answers.put((event, session)))
    builder.start()
    builder.request(1, {})
    builder.request(2, {})
    assert answers.get(timeout=10) == (GenerationFailed(1, words), None)
    event, session = answers.get(timeout=10)
    assert event == GenerationReady(2)
    assert session is not None
    builder.stop(10.0)
    assert not builder.is_alive()
    assert builder.builds == 2


def test_what_the_engine_runs_on_is_told_once_and_again_when_it_changes() -> None:
    class Moves(_Engine):
        device = "CUDA"

        @property
        def report(self) -> EngineReport:
            return EngineReport("none 1.0", "float32", self.device)

    engine, told, ready = Moves(), list[str](), queue.SimpleQueue[int]()
    builder = Builder(engine, lambda event, session: ready.put(event.token), told.append)
    builder.start()
    for token in range(3):
        engine.device = "CPU" if token == 2 else "CUDA"
        builder.request(token, {})
        assert ready.get(timeout=10) == token
    builder.stop(10.0)
    assert told == ["engine: none 1.0, float32, on CUDA", "engine: none 1.0, float32, on CPU"]
    assert builder.report.device == "CPU"


def test_threads_take_shorter_turns_during_a_build_and_the_usual_ones_after() -> None:
    class Looks(_Engine):
        def build(self, values: SlotValues) -> Session:
            seen.append(sys.getswitchinterval())
            return super().build(values)

    seen, ended, before = list[float](), queue.SimpleQueue[int](), sys.getswitchinterval()
    builder = Builder(Looks(MemoryError()), lambda event, session: ended.put(event.token))
    builder.start()
    for token in range(2):
        builder.request(token, {})
        assert ended.get(timeout=10) == token
        assert sys.getswitchinterval() == before
    builder.stop(10.0)
    assert max(seen) < 0.001 < before


def test_a_session_that_is_retired_ends_in_the_builders_thread() -> None:
    ended = queue.SimpleQueue[str]()

    class Told:
        def run(self, images: Image, *, probe: bool) -> Scores:
            raise AssertionError("nobody scores here")

        def __del__(self) -> None:
            ended.put(threading.current_thread().name)

    class Makes(_Engine):
        def build(self, values: SlotValues) -> Session:
            return Told()

    built = queue.SimpleQueue[Session | None]()
    builder = Builder(Makes(), lambda event, session: built.put(session))
    builder.start()
    builder.request(1, {})
    session = built.get(timeout=10)
    assert session is not None
    builder.retire(session)
    del session
    assert ended.get(timeout=10) == "builder"
    builder.stop(10.0)


def test_one_that_never_began_is_stopped_at_once() -> None:
    Builder(_Engine(), lambda event, session: None).stop(10.0)
