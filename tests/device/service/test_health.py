"""One judgement, its reasons, and what is left of it when the device does not speak any more."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeadapt_device.service.health import SILENT_S, Health, judge, seen_from_outside
from edgeadapt_device.status import DeviceStatus

GOOD = DeviceStatus(time_s=2e9, pid=7, ready=True, running=True, source="running", frame_age_s=0.1)


def judged(**changes: Any) -> tuple[str, tuple[str, ...]]:
    found = judge(msgspec.structs.replace(GOOD, **changes), stalled_after_s=30.0)
    return found.state, found.reasons


def test_a_device_that_does_what_it_should_is_well() -> None:
    assert judged() == ("ok", ())
    assert judged(connected=True, trouble="old news") == ("ok", ())
    assert judged(storage_errors=3, storage_error_age_s=61.0) == ("ok", ())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ready": False}, "first session is being built"),
        ({"frame_age_s": 31.0}, "no frame was scored for 31 s"),
        ({"source": "lost", "source_trouble": "/dev/video0 is gone"}, "/dev/video0 is gone"),
        ({"source": "stalled", "source_trouble": "it hangs"}, "it hangs"),
        ({"source": "misfit", "source_trouble": "frames of 2x2"}, "frames of 2x2"),
    ],
)
def test_without_frames_it_has_failed(changes: dict[str, Any], words: str) -> None:
    state, (reason,) = judged(**changes)
    assert state == "failed"
    assert words in reason


@pytest.mark.parametrize("source", ["", "waiting", "ended"])
def test_a_source_that_rightly_gives_nothing_is_no_failure(source: str) -> None:
    assert judged(source=source, frame_age_s=1e6) == ("ok", ())


def test_a_patience_of_zero_judges_no_pause() -> None:
    silent = msgspec.structs.replace(GOOD, frame_age_s=1e6)
    assert judge(silent, stalled_after_s=0.0).state == "ok"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trouble": "broker x: refused"}, "broker x: refused"),
        ({"source": "starting", "source_trouble": "camera 0 is not there"}, "camera 0 is not there"),
        ({"output_trouble": "the outputs are probabilities, not logits"}, "without its last activation"),
        ({"output_trouble": "the outputs are not finite numbers"}, "compile the model from whole weights"),
        ({"fallback": "CUDA is not there"}, "CUDA is not there"),
        ({"storage_errors": 2, "storage_error_age_s": 5.0}, "a write failed 5 s ago; 2 so far"),
        ({"time_s": 86_400.0}, "clock was never set"),
        ({"http_trouble": "port in use"}, "port in use"),
    ],
)
def test_what_is_missing_degrades_it(changes: dict[str, Any], words: str) -> None:
    state, (reason,) = judged(**changes)
    assert state == "degraded"
    assert words in reason


def test_the_worst_comes_first() -> None:
    state, reasons = judged(trouble="no broker", frame_age_s=40.0)
    assert state == "failed"
    assert reasons == ("no frame was scored for 40 s", "no broker")


def test_an_old_word_is_not_believed() -> None:
    assert seen_from_outside(GOOD, runs=True, silent_s=1.0).state == "ok"
    hung = seen_from_outside(GOOD, runs=True, silent_s=SILENT_S + 1)
    assert hung.state == "failed"
    assert "16 s" in hung.reasons[0]
    ended = seen_from_outside(GOOD, runs=False, silent_s=0.0)
    assert ended.reasons == ("the device does not run: process 7 ended without a goodbye",)
    starting = seen_from_outside(GOOD, runs=True, silent_s=1e6, holder=8)
    assert starting.state == "failed"
    assert "it is starting" in starting.reasons[0]
    before = msgspec.structs.replace(GOOD, running=False)
    assert seen_from_outside(before, runs=True, silent_s=1.0) == starting
    assert seen_from_outside(GOOD, runs=True, silent_s=1.0, holder=7).state == "ok"


def test_an_end_is_a_stop_unless_an_error_made_it() -> None:
    last = msgspec.structs.replace(GOOD, running=False, health="degraded", reasons=("a write failed",))
    told = seen_from_outside(last, runs=False, silent_s=1e6)
    assert told == Health("stopped", ("it was told to stop", "a write failed"))
    over = msgspec.structs.replace(last, source="ended", reasons=())
    assert seen_from_outside(over, runs=False, silent_s=1e6) == Health(
        "stopped", ("its source is at its end",)
    )
    broken = seen_from_outside(
        msgspec.structs.replace(over, failure="model.onnx is gone"), runs=False, silent_s=0.0
    )
    assert broken == Health("failed", ("the device does not run: model.onnx is gone",))


def test_a_cloud_of_other_versions_is_a_reason_for_people_and_the_doctor() -> None:
    said = "the cloud speaks protocol 2 to 3, this device 1: update the device"
    assert judged(connected=True, protocol_trouble=said) == ("degraded", (said,))
