"""The agent in a caller's loop: what it says, how it adapts, what it refuses, and how it ends."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgeadapt.bundle import Bundle, SlotValues
from edgeadapt.digest import sha256_hex
from edgeadapt.errors import BundleError, ConfigError, TransportError
from edgeadapt.scoring import softmax
from edgeadapt.wire import Ack, Assign, Sample, SignatureReport, decode, encode, topics
from edgeadapt_device import Agent, Result
from edgeadapt_device.config import MqttSection
from edgeadapt_device.core import events as ev
from edgeadapt_device.io.engines.base import Frames, Scores
from edgeadapt_device.io.engines.onnx import OnnxEngine, OnnxSession
from edgeadapt_device.io.link.mqtt import MqttLink
from edgeadapt_device.status import read_status
from edgeadapt_sim.broker import Broker
from tests.device import rig
from tests.device.io.engines.bundles import as_array, with_tflite

_WAIT_S = 30.0
_FROZEN = {"enabled": False}
_KEYS = {"keys": [rig.KEY.public_key().public_bytes_raw().hex()]}


@pytest.fixture
def state(tmp_path: Path) -> dict[str, object]:
    return {"state_dir": str(tmp_path / "state")}


@pytest.fixture
def agent(tiny: Bundle, state: dict[str, object]) -> Iterator[Agent]:
    """Offline, and every frame is probed."""
    with Agent(tiny, device=state, probe={"share": 1.0}) as agent:
        yield agent


def until(found: Callable[[], bool]) -> None:
    """Wait for something that another thread will do."""
    deadline_s = time.monotonic() + _WAIT_S
    while not found():
        assert time.monotonic() < deadline_s, "nothing came of it"
        time.sleep(0.01)


def bare(bundle: Bundle, frames: np.ndarray) -> np.ndarray:
    """Logits of the model file itself."""
    model = bundle.files[bundle.artifact("onnxruntime").file]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    batch = np.ascontiguousarray(frames.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)
    (logits,) = session.run(["logits"], {bundle.manifest.input.name: batch})
    return np.asarray(logits)


def test_a_batch_gets_what_the_bare_model_says(tiny: Bundle, agent: Agent) -> None:
    frames = rig.frames(16)
    result = agent.infer(frames)
    # The device's statistics begin at the calibration's, which are measured to some digits.
    np.testing.assert_allclose(result.logits, bare(tiny, frames), rtol=1e-3)
    np.testing.assert_allclose(result.probabilities, softmax(result.logits), rtol=1e-6)
    assert (result.classes == result.logits.argmax(axis=1)).all()
    assert result.classes.dtype == np.int64
    assert result.logits.dtype == np.float32
    assert result.embedding.shape == (16, tiny.manifest.embedding_dim)
    assert result.entropy.shape == result.flagged.shape == (16,)
    assert (result.generation, result.segment) == ("base", 0)
    assert agent.classes == tiny.manifest.classes


def test_one_frame_is_a_batch_of_one(agent: Agent) -> None:
    frames = rig.frames(4)
    whole = agent.infer(frames)
    for number, frame in enumerate(frames):
        one = agent.infer(frame)
        np.testing.assert_allclose(one.logits, whole.logits[number : number + 1], rtol=1e-5, atol=1e-5)
    assert agent.status().frames == 8


def test_the_session_runs_once_for_a_batch(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    real, sizes = OnnxSession.run, list[int]()

    def counted(session: OnnxSession, images: Frames, *, probe: bool) -> Scores:
        if images.any():  # a warm-up is black
            sizes.append(len(images))
        return real(session, images, probe=probe)

    monkeypatch.setattr(OnnxSession, "run", counted)
    agent.infer(rig.frames(13))
    assert sizes == [13]


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (np.zeros((4, 28, 28, 1), np.float32), "expected a NumPy array of uint8, got float32"),
        (np.zeros((4, 28, 28, 3), np.uint8), r"expected \[N, 28, 28, 1\].*got \[4, 28, 28, 3\]"),
        (np.zeros((4, 1, 28, 28), np.uint8), r"got \[4, 1, 28, 28\]"),
        (np.zeros((0, 28, 28, 1), np.uint8), r"N of 1 or more, got \[0, 28, 28, 1\]"),
        (np.zeros((28, 28), np.uint8), r"got \[28, 28\]"),
        (np.uint8(3), "got uint8"),
        ([[[[0]]]], "got list"),
    ],
)
def test_frames_of_another_shape_or_type_are_refused(agent: Agent, frames: np.ndarray, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        agent.infer(frames)
    assert agent.status().frames == 0


def test_a_model_of_arrays_takes_finite_ones(tiny: Bundle, state: dict[str, object]) -> None:
    arrays = rig.frames(3).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    with Agent(as_array(tiny), device=state) as agent:
        np.testing.assert_allclose(agent.infer(arrays).logits, bare(tiny, rig.frames(3)), rtol=1e-3)
        assert agent.infer(arrays[0]).classes.shape == (1,)
        arrays[2, 0, 5, 5] = np.nan
        with pytest.raises(ConfigError, match="frame 2 holds values that are not finite"):
            agent.infer(arrays)
        with pytest.raises(ConfigError, match="array of float32, got uint8"):
            agent.infer(rig.frames(1))


def test_it_runs_on_the_engine_that_is_asked_for(tiny: Bundle, state: dict[str, object]) -> None:
    bundle, frames = with_tflite(tiny, channels_last=True), rig.frames(5)
    with Agent(bundle, device=state, engine={"runtime": "tflite"}) as agent:
        np.testing.assert_allclose(agent.infer(frames).logits, bare(tiny, frames), rtol=1e-3)
        assert agent.status().runtime.startswith(("ai_edge_litert", "tflite"))


def test_it_adapts_and_a_build_never_holds_a_call_up(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    real, begun, go = OnnxEngine.build, threading.Event(), threading.Event()

    def slow(engine: OnnxEngine, values: SlotValues) -> OnnxSession:
        begun.set()
        assert go.wait(_WAIT_S)
        return real(engine, values)

    monkeypatch.setattr(OnnxEngine, "build", slow)
    frames = rig.frames(200, level=0.3)
    before = agent.infer(frames[:16]).logits
    for start in range(0, 160, 16):
        agent.infer(frames[start : start + 16])
    assert begun.wait(_WAIT_S)
    still = agent.infer(frames[:16]).logits
    np.testing.assert_array_equal(still, before)
    assert agent.status().swaps == 0
    go.set()
    until(lambda: agent.status().swaps > 0)
    after = agent.infer(frames[:16]).logits
    assert abs(after - before).max() > 0.01
    assert agent.status().updates > 0


def test_without_statistics_it_stays_as_it_is(tiny: Bundle, state: dict[str, object]) -> None:
    with Agent(tiny, device=state, statistics=_FROZEN) as agent:
        frames = rig.frames(200, level=0.3)
        before = agent.infer(frames).logits
        for _ in range(3):
            agent.infer(frames)
        # Frames that are probed take another graph of the same values.
        np.testing.assert_allclose(agent.infer(frames).logits, before, rtol=1e-4)
        assert agent.status().builds == 1


def test_a_patch_is_tried_on_batches_and_kept_or_taken_back(tiny: Bundle, state: dict[str, object]) -> None:
    good = rig.sealed(tiny, rig.harmless(tiny), serial=1)
    bad = rig.sealed(tiny, rig.harmful(tiny), serial=2)
    assign = Assign(cohort=rig.COHORT, segment=0, channel="stable", bundle=tiny.digest)
    with Agent(
        tiny,
        device={**state, "name": rig.NAME, "fleet": rig.FLEET},
        trust=_KEYS,
        probe={"share": 1.0},
        statistics=_FROZEN,
        trial={"frames": 400, "min_compared": 24, "settle_frames": 0},
    ) as agent:
        frames = rig.frames(1600)

        def play(batches: int) -> list[Result]:
            results = []
            for number in range(batches):
                results.append(agent.infer(frames[13 * number : 13 * (number + 1)]))
                # Those after the frame that ends a trial, too, were scored by what was on trial.
                assert {answer.generation for answer in agent._answers} == {results[-1].generation}
            return results

        play(4)
        agent._machine.post(ev.Received(topics.down(rig.FLEET, rig.NAME, "assign"), encode(assign)))
        for envelope, verdict in ((good, "confirmed"), (bad, "reverted")):
            agent._machine.post(ev.Received(topics.patch(rig.FLEET, rig.COHORT, "stable"), envelope))
            until(lambda: bool(agent.status().trial) and bool(play(1)))
            results = play(60)
            name = sha256_hex(envelope)[:12]
            assert name in {result.generation for result in results}
            assert agent.status().trial == "", verdict
            assert results[-1].generation == sha256_hex(good)[:12]
            assert agent.status().reverts == (verdict == "reverted")


def test_frames_go_up_and_are_acknowledged(tmp_path: Path, tiny: Bundle, state: dict[str, object]) -> None:
    taken: list[Sample] = []
    with Broker.start(log_dir=tmp_path / "broker") as broker:
        inbox: list[object] = []
        server = MqttLink(
            MqttSection(port=broker.port),
            fleet=rig.FLEET,
            device="server",
            will_topic="test/server",
            will_payload=b"dead",
            inbox=inbox.append,
        )
        until(lambda: any(isinstance(event, ev.Connected) for event in inbox))
        server.subscribe(topics.up(rig.FLEET, rig.NAME, "sample"))
        server.subscribe(topics.up(rig.FLEET, rig.NAME, "signature"))

        def acknowledge() -> None:
            for event in [event for event in inbox if isinstance(event, ev.Received)]:
                inbox.remove(event)
                message = decode(event.payload)
                assert isinstance(message, (Sample, SignatureReport))
                if isinstance(message, Sample):
                    taken.append(message)
                ack = encode(Ack(outbox=message.outbox, sequences=(message.sequence,)))
                server.publish(topics.down(rig.FLEET, rig.NAME, "ack"), ack, 1, False)

        with Agent(
            tiny,
            device={**state, "name": rig.NAME, "fleet": rig.FLEET},
            mqtt={"host": "127.0.0.1", "port": broker.port},
            flagging={"audit_chance": 0.2},
        ) as agent:
            until(lambda: agent.status().connected)
            flagged = sum(int(agent.infer(rig.frames(16)).flagged.sum()) for _ in range(12))
            assert flagged > 0

            def uploaded() -> bool:
                acknowledge()
                # Nobody calls `infer` any more.
                return agent.status().uploaded == flagged and not agent.status().outbox_rows

            until(uploaded)
        assert len({sample.sequence for sample in taken}) == flagged
        server.close(None)


def test_its_status_is_written_though_nobody_calls(agent: Agent, state: dict[str, object]) -> None:
    folder = Path(str(state["state_dir"]))
    first = read_status(folder).time_s
    until(lambda: read_status(folder).time_s > first)
    status = read_status(folder)
    assert (status.running, status.ready, status.source, status.http) == (True, True, "", "")
    agent.close()
    assert not read_status(folder).running
    assert not agent.status().running


def test_two_agents_do_not_share_a_state_folder_and_the_next_goes_on(
    tiny: Bundle, agent: Agent, state: dict[str, object]
) -> None:
    with pytest.raises(ConfigError, match="is in use by process"):
        Agent(tiny, device=state)
    agent.infer(rig.frames(5))
    agent.close()
    agent.close()
    with pytest.raises(ConfigError, match="this agent is closed"):
        agent.infer(rig.frames(1))
    with Agent(tiny, device=state) as again:
        again.infer(rig.frames(2))
        assert again._index == 7
        assert again.status().frames == 2


def test_an_agent_that_cannot_begin_leaves_nothing_behind(
    tiny: Bundle, state: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(engine: OnnxEngine, values: SlotValues) -> OnnxSession:
        raise BundleError("nothing runs here")

    with monkeypatch.context() as patched:
        patched.setattr(OnnxEngine, "build", refuses)
        with pytest.raises(BundleError, match="nothing runs here"):
            Agent(tiny, device=state)
    names = {thread.name for thread in threading.enumerate()}
    assert not {"agent", "builder"} & names
    with Agent(tiny, device=state) as agent:
        agent.infer(rig.frames(1))


def test_threads_take_turns(agent: Agent) -> None:
    frames, failed = rig.frames(8), list[BaseException]()
    alone = agent.infer(frames).logits

    def work() -> None:
        try:
            for _ in range(25):
                assert agent.infer(frames).logits.shape == alone.shape
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_WAIT_S)
    assert failed == []
    assert agent.status().frames == 8 * 101


def test_a_runtime_that_fails_says_so_and_the_next_call_may_succeed(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(session: OnnxSession, images: Frames, *, probe: bool) -> Scores:
        raise TransportError("inference failed: out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(OnnxSession, "run", refuses)
        with pytest.raises(TransportError, match="out of memory"):
            agent.infer(rig.frames(2))
    assert len(agent.infer(rig.frames(2)).classes) == 2
    assert agent.status().frames == 2


def test_what_fails_between_two_calls_is_raised_in_the_next(agent: Agent) -> None:
    agent._machine.post(ev.GenerationReady(-1), None)
    agent._machine.post(object())  # type: ignore[arg-type]
    until(lambda: agent._failure is not None)
    with pytest.raises(Exception, match=r".") as caught:
        agent.infer(rig.frames(1))
    assert caught.value is agent._failure


_LIGHT = """
import sys
import edgeadapt_device
assert "onnxruntime" not in sys.modules and "numpy" not in sys.modules
from edgeadapt_device import Agent
heavy = {"PIL", "paho", "cv2", "torch", "zeroconf", "http.server", "click"} & set(sys.modules)
assert not heavy, heavy
sys.stdout.write(" ".join(edgeadapt_device.__all__))
"""


def test_importing_it_loads_only_what_it_needs() -> None:
    done = subprocess.run([sys.executable, "-c", _LIGHT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["Agent", "DeviceConfig", "DeviceStatus", "Result"]
