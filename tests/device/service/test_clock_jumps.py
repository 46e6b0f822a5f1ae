"""A daemon whose wall clock jumps while it runs: frames, status and health follow the other clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgeadapt.clock import Instant
from edgeadapt_device import machine
from edgeadapt_device.cli import group
from edgeadapt_device.config import DeviceSection, HttpSection, MqttSection, OutputSection, SourceSection
from edgeadapt_device.daemon import Daemon
from edgeadapt_device.status import DeviceStatus, read_status
from edgeadapt_models.compile import tiny_bundle
from tests.device import rig

TEN_YEARS_S = 10 * 365.25 * 86_400.0


def until(state: Path, found: Callable[[DeviceStatus], bool]) -> DeviceStatus:
    deadline_s = time.monotonic() + 30
    while not ((state / "status.json").is_file() and found(read_status(state))):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    return read_status(state)


def test_frames_status_and_health_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_bundle(tmp_path / "bundle")
    np.save(tmp_path / "frames.npy", rig.frames(60))
    state, stop = tmp_path / "state", threading.Event()
    config = rig.config(
        device=DeviceSection(name=rig.NAME, bundle=str(tmp_path / "bundle"), state_dir=str(state)),
        mqtt=MqttSection(enabled=False),
        source=SourceSection(path=str(tmp_path), frames_per_second=100.0, loop=True),
        output=OutputSection(status_every_s=0.05, commit_every_s=0.1),
        http=HttpSection(enabled=False),
    )
    thread = threading.Thread(target=Daemon(config, stop).run)
    thread.start()
    try:
        until(state, lambda s: s.frames > 5)
        for wall_s, health in ((86_400.0, "degraded"), (time.time() + TEN_YEARS_S, "ok")):
            monkeypatch.setattr(machine, "now", lambda wall_s=wall_s: Instant(time.monotonic(), wall_s))
            seen = until(state, lambda s, wall_s=wall_s: s.time_s == wall_s)  # type: ignore[misc]
            later = until(state, lambda s, seen=seen: s.frames > seen.frames + 20)  # type: ignore[misc]
            assert (later.health, later.ready) == (health, True)
            assert later.frame_age_s < 10.0
            done = CliRunner().invoke(group, ["status", "--state-dir", str(state)])
            assert done.exit_code == 0, done.output
            assert "runs; as of 0 s ago" in done.output
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive()
