"""`device outbox`: an operator sees what would leave, and makes it go, whether the device runs or not."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from edgeadapt.digest import sha256_hex
from edgeadapt.wire import DescriptorItem, Descriptors, Lane, Outcome, Sample
from edgeadapt_device.cli import group
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.core.uplink.rows import Waiting
from edgeadapt_device.daemon import Daemon
from edgeadapt_device.io.outbox.sqlite import SqliteOutbox
from edgeadapt_device.io.png import png
from edgeadapt_device.status import read_status
from edgeadapt_models.compile import tiny_bundle
from tests.device import rig

PIXELS = np.arange(28 * 28, dtype=np.uint32).astype(np.uint8).reshape(28, 28, 1)


def sample(lane: Lane = "adapt", *, raw: bool = False) -> Sample:
    data = PIXELS.tobytes() if raw else png(PIXELS)
    return Sample(
        outbox="", sequence=0, segment=4, lane=lane, codec="raw" if raw else "png", height=28, width=28,
        channels=1, data=data, sha256=sha256_hex(data), entropy=0.75, predicted=2, generation="base",
        captured_s=1_700_000_000.0, verdict="unknown",
    )  # fmt: skip


ITEM = DescriptorItem(
    sample=0, lane="ask", verdict="unknown", predicted=2, entropy=1.0, p_value=0.1, size_bytes=0, members=3,
    vector=bytes(64),
)  # fmt: skip


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A device that has run, with five messages that wait."""
    bundle = tiny_bundle(tmp_path / "bundle")
    np.save(tmp_path / "frames.npy", rig.frames(60))
    (tmp_path / "device.toml").write_text(
        f"""
[device]
name = "camera-1"
bundle = "{tmp_path / "bundle"}"
state_dir = "{tmp_path / "state"}"
[mqtt]
port = 1
[source]
path = "{tmp_path}"
frames_per_second = 50.0
loop = true
[flagging]
enabled = false
[http]
enabled = false
[output]
status_every_s = 0.05
[delivery]
retention_hours = 1000
"""
    )
    box = SqliteOutbox(tmp_path / "state" / "outbox.sqlite", retention_s=3.6e6)
    box.store(sample(), age_s=36 * 3600.0)
    box.store(sample("ask"), waiting=Waiting(ITEM, 4, "base"))
    box.store(Outcome(outbox="", sequence=0, cohort="c", serial=1, patch="p", state="trial"))
    box.store(sample("audit", raw=True), age_s=90.0)
    box.store(
        Descriptors(outbox="", sequence=0, bundle=bundle.digest, segment=4, generation="base", items=(ITEM,))
    )
    box.close()
    return tmp_path / "state"


def run(state: Path, *words: str, answer: str = "") -> Result:
    command = ["outbox", words[0], "--config", str(state.parent / "device.toml"), *words[1:]]
    return CliRunner().invoke(group, command, input=answer)


def left(state: Path) -> list[int]:
    found: list[int] = [row["sequence"] for row in json.loads(run(state, "list", "--json").stdout)]
    return found


@contextmanager
def running(state: Path) -> Iterator[None]:
    """The daemon runs on it."""
    from edgeadapt_device.cli import read_config

    stop, config = threading.Event(), read_config(state.parent / "device.toml")
    assert isinstance(config, DeviceConfig)
    thread = threading.Thread(target=Daemon(config, stop).run)
    thread.start()
    try:
        deadline_s = time.monotonic() + 30.0
        while not ((state / "status.json").is_file() and read_status(state).frames > 5):
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        yield
    finally:
        stop.set()
        thread.join(30.0)


def test_the_list_says_what_each_message_is_and_how_old(state: Path) -> None:
    done = run(state, "list")
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.output.splitlines()]
    assert lines[1][:5] == ["1", "sample", "adapt", "unknown", "to"]
    assert lines[1][-2:] == ["1.5", "d"]
    assert lines[2][:5] == ["2", "sample", "ask", "unknown", "held"]
    assert lines[3][:4] == ["3", "outcome", "-", "-"]
    assert "1.5 min" in done.output
    assert "5 messages (4 to send, 1 held)" in done.output
    rows = json.loads(run(state, "list", "--json", "--lane", "ask").stdout)
    assert [(row["sequence"], row["state"]) for row in rows] == [(2, "held")]


def test_show_tells_all_and_saves_the_picture_as_it_would_leave(state: Path, tmp_path: Path) -> None:
    for sequence in ("1", "4"):
        done = run(state, "show", sequence, "--save", str(tmp_path / "seen.png"))
        assert done.exit_code == 0, done.output
        assert "entropy      0.75" in done.output
        assert "verdict      unknown" in done.output
        picture = np.asarray(Image.open(io.BytesIO((tmp_path / "seen.png").read_bytes())))
        assert np.array_equal(picture, PIXELS[:, :, 0])
    fields = json.loads(run(state, "show", "4", "--json").stdout)
    assert (fields["lane"], fields["data"], fields["segment"]) == ("audit", "784 bytes", 4)
    assert json.loads(run(state, "show", "5", "--json").stdout)["items"] == [0]


def test_what_is_not_there_has_exit_code_1(state: Path, tmp_path: Path) -> None:
    assert run(state, "show", "77").exit_code == 1
    assert run(state, "show", "3", "--save", str(tmp_path / "x.png")).exception is not None
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["--lane", "ask"], [1, 3, 4, 5]),
        (["--older-than", "24"], [2, 3, 4, 5]),
        (["--lane", "audit", "--older-than", "1"], [1, 2, 3, 4, 5]),
        (["--all"], []),
    ],
)
def test_a_stopped_device_is_purged_directly(state: Path, words: list[str], kept: list[int]) -> None:
    done = run(state, "purge", *words, answer="y\n")
    assert done.exit_code == 0, done.output
    assert left(state) == kept
    gone = 5 - len(kept)
    assert (f"{gone} messages deleted" if gone else "nothing to delete") in done.output


def test_a_running_device_deletes_and_goes_on(state: Path) -> None:
    with running(state):
        done = run(state, "purge", "--lane", "ask", "--yes")
        assert done.exit_code == 0, done.output
        assert "1 messages deleted" in done.output
        kept = left(state)
        assert 2 not in kept
        assert {1, 3, 4} <= set(kept)
        frames = read_status(state).frames
        deadline_s = time.monotonic() + 30.0
        while read_status(state).frames <= frames:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        assert run(state, "purge", "--all", "--yes").exit_code == 0
        assert not set(left(state)) & {1, 3, 4}


def test_nothing_goes_without_a_yes_or_without_being_told_what(state: Path) -> None:
    refused = run(state, "purge", "--all", answer="n\n")
    assert refused.exit_code == 1
    assert run(state, "purge").exit_code == 2
    assert run(state, "purge", "--all", "--lane", "ask").exit_code == 2
    assert left(state) == [1, 2, 3, 4, 5]


def test_a_device_that_never_ran_has_no_outbox(state: Path) -> None:
    (state / "outbox.sqlite").unlink()
    done = run(state, "list")
    assert done.exit_code != 0
    assert "has not run yet" in str(done.exception)


def test_an_empty_one_says_so(state: Path) -> None:
    run(state, "purge", "--all", "--yes")
    assert "nothing waits" in run(state, "list").output


def test_a_running_device_drops_what_is_too_old_unsent_and_says_so(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    toml = state.parent / "device.toml"
    toml.write_text(toml.read_text().replace("retention_hours = 1000", "retention_hours = 24"))
    with caplog.at_level("INFO"), running(state):
        deadline_s = time.monotonic() + 30.0
        while 1 in left(state):
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
    assert {2, 3, 4, 5} <= set(left(state))
    assert "1 messages were dropped: older than 24 h, undelivered" in caplog.text
