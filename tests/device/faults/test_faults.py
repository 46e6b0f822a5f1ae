"""The daemon inline, with a runtime that fails, a broker that is not there, and a stream that is over."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeadapt.bundle import SlotValues, read_folder
from edgeadapt.errors import BundleError, TransportError
from edgeadapt_device import daemon as daemon_module
from edgeadapt_device import machine
from edgeadapt_device.config import (
    BudgetSection,
    DeviceConfig,
    DeviceSection,
    FlaggingSection,
    MqttSection,
    OutputSection,
    SourceSection,
)
from edgeadapt_device.core.events import Image
from edgeadapt_device.daemon import Daemon
from edgeadapt_device.io.engines import Scores
from edgeadapt_device.io.engines.onnx import OnnxEngine, OnnxSession
from edgeadapt_device.io.lock import is_locked
from edgeadapt_device.io.store import GenerationStore
from edgeadapt_device.status import DeviceStatus, read_status, write_status
from edgeadapt_models.compile import tiny_bundle
from edgeadapt_sim.broker import Broker, free_port
from tests.device import rig

FRAMES = 60


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults") / "bundle"
    tiny_bundle(folder)
    return folder


@pytest.fixture
def config(tmp_path: Path, bundle_folder: Path) -> DeviceConfig:
    """`FRAMES` frames as fast as possible, offline, with every file in `tmp_path`."""
    np.save(tmp_path / "frames.npy", rig.frames(FRAMES))
    return rig.config(
        device=DeviceSection(
            name=rig.NAME, fleet=rig.FLEET, bundle=str(bundle_folder), state_dir=str(tmp_path / "state")
        ),
        mqtt=MqttSection(enabled=False),
        source=SourceSection(path=str(tmp_path)),
        output=OutputSection(predictions=str(tmp_path / "predictions.csv")),
    )


def replace(config: DeviceConfig, **sections: Any) -> DeviceConfig:
    """`config` with whole sections replaced."""
    values = {name: getattr(config, name) for name in config.__struct_fields__}
    return DeviceConfig(**{**values, **sections})


def run(config: DeviceConfig) -> None:
    Daemon(config, threading.Event()).run()


def rows(folder: Path) -> list[list[str]]:
    return [line.split(",") for line in (folder / "predictions.csv").read_text().splitlines()[1:]]


def test_a_frame_that_the_runtime_refuses_is_left_out_and_told(
    tmp_path: Path, config: DeviceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = OnnxSession.run, list[int]()

    def refuses_the_tenth(session: OnnxSession, images: Image, *, probe: bool) -> Scores:
        if images.any():  # a warm-up is black
            seen.append(1)
            if len(seen) == 10:
                raise TransportError("inference failed: out of memory")
        return real(session, images, probe=probe)

    monkeypatch.setattr(OnnxSession, "run", refuses_the_tenth)
    run(config)
    assert [int(row[0]) for row in rows(tmp_path)] == [n for n in range(FRAMES) if n != 9]
    assert "out of memory" in read_status(tmp_path / "state").note


def test_a_runtime_that_refuses_every_frame_ends_the_process(
    config: DeviceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = OnnxSession.run

    def refuses(session: OnnxSession, images: Image, *, probe: bool) -> Scores:
        if images.any():
            raise TransportError("inference failed: broken")
        return real(session, images, probe=probe)

    monkeypatch.setattr(OnnxSession, "run", refuses)
    monkeypatch.setattr(daemon_module, "_MAX_FAILURES", 20)
    with pytest.raises(TransportError, match="broken"):
        run(config)


def test_a_runtime_that_refuses_now_and_then_does_not(
    tmp_path: Path, config: DeviceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = OnnxSession.run, list[int]()

    def refuses_every_other(session: OnnxSession, images: Image, *, probe: bool) -> Scores:
        if images.any():
            seen.append(1)
            if len(seen) % 2:
                raise TransportError("inference failed: busy")
        return real(session, images, probe=probe)

    monkeypatch.setattr(OnnxSession, "run", refuses_every_other)
    monkeypatch.setattr(daemon_module, "_MAX_FAILURES", 20)
    run(config)
    assert len(rows(tmp_path)) == FRAMES // 2


def test_a_build_that_fails_for_any_reason_leaves_the_device_adapting(
    tmp_path: Path, config: DeviceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, builds = OnnxEngine.build, list[int]()

    def fails_the_second(engine: OnnxEngine, values: SlotValues) -> OnnxSession:
        builds.append(1)
        if len(builds) == 2:
            raise MemoryError("no room for a session")
        return real(engine, values)

    monkeypatch.setattr(OnnxEngine, "build", fails_the_second)
    # At home nothing moves, and nothing would be built.
    np.save(tmp_path / "frames.npy", rig.frames(FRAMES, level=0.5))
    config = replace(config, source=SourceSection(path=str(tmp_path), frames_per_second=100.0))
    run(config)
    assert len(builds) > 3
    assert read_status(tmp_path / "state").builds == len(builds)


def test_a_patch_that_cannot_be_built_any_more_gives_way_to_the_base(
    tmp_path: Path, config: DeviceConfig, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = read_folder(bundle_folder)
    device = rig.Rig(bundle, store=GenerationStore(tmp_path / "state" / "generation"))
    device.assign()
    device.publish(rig.sealed(bundle, rig.harmless(bundle)))
    device.play(rig.frames(70))
    assert device.generation != "base"
    real = OnnxEngine.build

    def refuses_patches(engine: OnnxEngine, values: SlotValues) -> OnnxSession:
        if "norm2.bias" in values:
            raise BundleError("no room for it")
        return real(engine, values)

    monkeypatch.setattr(OnnxEngine, "build", refuses_patches)
    np.save(tmp_path / "frames.npy", rig.frames(100))
    run(config)
    assert {row[3] for row in rows(tmp_path)} == {"base"}
    assert rows(tmp_path)[-1][0] == "99"
    assert read_status(tmp_path / "state").patch == ""


def test_a_base_that_cannot_be_built_is_an_error(
    config: DeviceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(engine: OnnxEngine, values: SlotValues) -> OnnxSession:
        raise BundleError("nothing runs here")

    monkeypatch.setattr(OnnxEngine, "build", refuses)
    with pytest.raises(BundleError, match="nothing runs here"):
        run(config)


def test_stopping_does_not_wait_for_the_first_build(
    tmp_path: Path, config: DeviceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, release = threading.Event(), threading.Event()

    def takes_long(engine: OnnxEngine, values: SlotValues) -> OnnxSession:
        stop.set()
        release.wait(30)
        raise BundleError("too late")

    monkeypatch.setattr(OnnxEngine, "build", takes_long)
    monkeypatch.setattr(machine, "_BUILDER_STOP_S", 0.1)
    started_s = time.monotonic()
    Daemon(config, stop).run()
    assert time.monotonic() - started_s < 15
    release.set()
    assert rows(tmp_path) == []
    assert not read_status(tmp_path / "state").running


def test_an_exit_waits_for_the_build_in_hand(config: DeviceConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    real, under_way = OnnxEngine.build, list[str]()

    def slow(engine: OnnxEngine, values: SlotValues) -> OnnxSession:
        under_way.append("begun")
        time.sleep(0.3)
        under_way.append("ended")
        return real(engine, values)

    monkeypatch.setattr(OnnxEngine, "build", slow)
    run(config)
    assert under_way.count("begun") == under_way.count("ended")
    assert not any(thread.name == "builder" for thread in threading.enumerate())


def test_a_stream_that_is_over_says_so_and_keeps_the_counts(
    tmp_path: Path, config: DeviceConfig, caplog: pytest.LogCaptureFixture
) -> None:
    run(config)
    first = read_status(tmp_path / "state")
    assert first.frames == FRAMES
    with caplog.at_level("INFO", "edgeadapt.device"):
        run(config)
    again = read_status(tmp_path / "state")
    assert again.frames == FRAMES
    assert again.time_s > first.time_s
    for text in (again.note, caplog.text):
        assert "is at its end" in text
        assert "to start over" in text
    assert f"scoring from frame {FRAMES}" not in caplog.text
    run(replace(config, output=OutputSection()))
    assert str(tmp_path / "state") in read_status(tmp_path / "state").note


def test_without_a_broker_the_reason_is_told_and_shown_and_nothing_counts_as_sent(
    tmp_path: Path, config: DeviceConfig, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    config = replace(
        config,
        mqtt=MqttSection(port=port),
        flagging=FlaggingSection(audit_chance=0.9),
        source=SourceSection(path=str(tmp_path), frames_per_second=50.0),
    )
    with caplog.at_level("INFO", "edgeadapt.device"):
        run(config)
    status = read_status(tmp_path / "state")
    assert [record.message for record in caplog.records].count(status.trouble) == 1
    assert f"127.0.0.1:{port}" in status.trouble
    assert "refused" in status.trouble
    assert not status.connected
    assert status.flagged > 0
    assert status.outbox_rows > 0
    assert status.bytes_up == 0


@pytest.mark.integration
def test_with_a_broker_bytes_are_counted_and_after_the_end_nothing_is_connected(
    tmp_path: Path, config: DeviceConfig
) -> None:
    stop, state = threading.Event(), tmp_path / "state"
    with Broker.start(log_dir=tmp_path / "broker") as broker:
        config = replace(
            config,
            mqtt=MqttSection(port=broker.port),
            source=SourceSection(path=str(tmp_path), frames_per_second=100.0, loop=True),
            output=OutputSection(status_every_s=0.05),
        )
        thread = threading.Thread(target=Daemon(config, stop).run)
        thread.start()
        try:
            deadline_s = time.monotonic() + 30
            while not ((state / "status.json").is_file() and read_status(state).connected):
                assert time.monotonic() < deadline_s, "never connected"
                time.sleep(0.02)
        finally:
            stop.set()
            thread.join(30)
    status = read_status(state)
    assert not status.connected
    assert status.trouble == ""
    assert status.bytes_up > 0


def test_the_status_says_whether_the_device_runs(tmp_path: Path, config: DeviceConfig) -> None:
    stop, state = threading.Event(), tmp_path / "state"
    daemon = Daemon(
        replace(
            config,
            source=SourceSection(path=str(tmp_path), frames_per_second=100.0, loop=True),
            output=OutputSection(status_every_s=0.05),
        ),
        stop,
    )
    thread = threading.Thread(target=daemon.run)
    thread.start()
    try:
        seen: set[int] = set()
        deadline_s = time.monotonic() + 30
        while len(seen) < 3:
            assert time.monotonic() < deadline_s, "the status is not written while the device runs"
            if (state / "status.json").is_file():
                status = read_status(state)
                assert status.running
                seen.add(status.frames)
            time.sleep(0.02)
        assert is_locked(state)
    finally:
        stop.set()
        thread.join(30)
    assert not read_status(state).running
    assert not is_locked(state)


def test_a_process_that_still_builds_its_first_session_has_a_status_of_its_own(
    tmp_path: Path, config: DeviceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, release, state = threading.Event(), threading.Event(), tmp_path / "state"
    write_status(state, DeviceStatus(time_s=0.0, pid=1, running=True, frames=7))
    real = OnnxEngine.build

    def takes_long(engine: OnnxEngine, values: SlotValues) -> OnnxSession:
        release.wait(30)
        return real(engine, values)

    monkeypatch.setattr(OnnxEngine, "build", takes_long)
    config = replace(config, output=OutputSection(status_every_s=0.05))
    thread = threading.Thread(target=Daemon(config, stop).run)
    thread.start()
    try:
        seen: set[float] = set()
        deadline_s = time.monotonic() + 20
        while len(seen) < 3:
            assert time.monotonic() < deadline_s, "the status of a dead process is shown"
            status = read_status(state)
            if status.pid == os.getpid():
                assert (status.running, status.frames) == (True, 0)
                seen.add(status.time_s)
            time.sleep(0.02)
    finally:
        stop.set()
        release.set()
        thread.join(30)
    assert not read_status(state).running


def test_a_budget_that_no_frame_fits_into_is_told_at_the_start(
    tmp_path: Path, config: DeviceConfig, caplog: pytest.LogCaptureFixture
) -> None:
    config = replace(config, mqtt=MqttSection(), flagging=FlaggingSection())
    with caplog.at_level("INFO", "edgeadapt.device"):
        Daemon(config, threading.Event())
        assert "burst_bytes" not in caplog.text
        Daemon(replace(config, budget=BudgetSection(burst_bytes=1000)), threading.Event())
        assert "budget.burst_bytes: 1000 is less" in caplog.text
