"""What is said, how often, and what the status shows of a patch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgeadapt.bundle import Bundle
from edgeadapt_device.io.builder import Builder
from edgeadapt_device.io.engines.onnx import OnnxEngine
from edgeadapt_device.io.link import NoLink
from edgeadapt_device.look import Watched
from edgeadapt_device.reporter import Reporter
from edgeadapt_device.status import DeviceStatus, read_status
from tests.device import rig


def test_a_line_that_repeats_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reporter = Reporter(tmp_path, every_s=1.0)
    with caplog.at_level("INFO", "edgeadapt.device"):
        for _ in range(100):
            reporter.tell("the disk is full")
        reporter.tell("something else")
    assert [record.message for record in caplog.records] == ["the disk is full", "something else"]


def watched(device: rig.Rig, bundle: Bundle) -> Watched:
    """What a reporter looks at, of an inline device."""
    local = device.device
    builder = Builder(OnnxEngine(bundle), lambda event, session: None)
    return Watched(rig.config(), bundle.digest, local.core, local._performer, builder, NoLink())


def shown(device: rig.Rig, bundle: Bundle, folder: Path) -> DeviceStatus:
    """The status of an inline device."""
    Reporter(folder, every_s=1.0).write(watched(device, bundle), device.now, running=True)
    return read_status(folder)


def test_a_change_of_health_is_a_line_of_its_own_severity(
    tmp_path: Path, tiny: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    device, reporter = rig.Rig(tiny), Reporter(tmp_path, every_s=1.0)
    storage = [""]
    seen = dataclasses.replace(watched(device, tiny), storage=lambda: storage[0])
    with caplog.at_level("INFO", "edgeadapt.device"):
        reporter.write(seen, device.now, running=True)
        seen.performer.storage_errors += 1
        for number, seconds in enumerate((0.0, 5.0, 5.0, 100.0, 1.0)):
            device.wait(seconds)
            storage[0] = "messages are kept in memory" if number == 2 else ""
            reporter.write(seen, device.now, running=True)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "the device is degraded: a write failed 0 s ago; 1 so far"),
        ("WARNING", "the device is degraded: messages are kept in memory"),
        ("INFO", "the device is ok"),
    ]


def test_patch_and_trial_are_shown_in_words(tmp_path: Path, tiny: Bundle) -> None:
    device = rig.Rig(tiny)
    device.assign()
    assert (shown(device, tiny, tmp_path).patch, shown(device, tiny, tmp_path).trial) == ("", "")
    device.publish(rig.sealed(tiny, rig.harmless(tiny), serial=7))
    device.play(rig.frames(20))
    assert shown(device, tiny, tmp_path).trial == "patch 7 of c1, 20 frames watched"
    device.play(rig.frames(60))
    status = shown(device, tiny, tmp_path)
    assert (status.patch, status.trial) == ("7 of c1", "")
    assert status.storage_errors == 0


def test_updates_are_counted_over_switches(tmp_path: Path, tiny: Bundle) -> None:
    device = rig.Rig(tiny)
    seen = []
    for level in (1.0, 0.3, 1.0):
        device.play(rig.frames(120, level=level))
        status = shown(device, tiny, tmp_path)
        seen.append(status.updates)
    assert status.segment > 0
    assert 0 < seen[0] < seen[1] < seen[2]
    assert seen[2] > seen[0] + 8
