"""An outbox that waits in memory for a disk, and moves there when it comes."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.errors import TransportError
from edgeadapt.wire import Outcome, decode, topics
from edgeadapt_device.core.events import OutboxChanged
from edgeadapt_device.io.outbox import Outbox
from edgeadapt_device.io.outbox.sqlite import SqliteOutbox
from edgeadapt_device.io.outbox.standby import StandbyOutbox
from tests.device import disk, rig
from tests.device.rig import Rig


def outcome(serial: int) -> Outcome:
    return Outcome(outbox="", sequence=0, cohort="c", serial=serial, patch="p", state="trial")


class Flaky:
    """A real outbox on a disk that is full for the first attempts to open it."""

    def __init__(self, path: Path, *, failures: int, code: int = errno.ENOSPC) -> None:
        self.path, self.failures, self.code, self.attempts = path, failures, code, 0

    def __call__(self) -> Outbox:
        self.attempts += 1
        if self.attempts <= self.failures:
            raise TransportError("the disk is full") from OSError(self.code, "No space left on device")
        return SqliteOutbox(self.path)


def serials(outbox: Outbox) -> list[int]:
    found = []
    for row in outbox.pending():
        kept = outbox.payload(row.sequence)
        assert kept is not None
        message = decode(kept[1])
        assert isinstance(message, Outcome)
        assert (message.outbox, message.sequence) == (outbox.outbox_id, row.sequence)
        found.append(message.serial)
    return found


def test_a_disk_that_opens_is_used_at_once(tmp_path: Path) -> None:
    outbox = StandbyOutbox(tmp_path, Flaky(tmp_path / "o", failures=0), max_bytes=1000)
    outbox.store(outcome(1))
    assert outbox.trouble == ""
    assert not outbox.recover(1e9)
    outbox.close()
    assert serials(SqliteOutbox(tmp_path / "o")) == [1]


def test_what_waits_in_memory_moves_to_the_disk_behind_what_was_there(tmp_path: Path) -> None:
    before = SqliteOutbox(tmp_path / "o")
    before.store(outcome(1))
    before.close()
    flaky = Flaky(tmp_path / "o", failures=2)
    outbox = StandbyOutbox(tmp_path, flaky, max_bytes=1000, retry_s=30.0)
    assert "kept in memory: the disk is full" in outbox.trouble
    first = outbox.outbox_id
    for serial in (2, 3):
        outbox.store(outcome(serial))
    assert serials(outbox) == [2, 3]
    assert not outbox.recover(0.0)
    assert not outbox.recover(29.0)
    assert flaky.attempts == 1, "a full disk is not tried all the time"
    assert not outbox.recover(31.0)
    assert flaky.attempts == 2
    assert outbox.recover(70.0)
    assert outbox.trouble == ""
    assert outbox.outbox_id != first
    assert serials(outbox) == [1, 2, 3]
    assert not outbox.recover(1e9)
    outbox.close()


def test_a_disk_that_fills_up_half_way_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = StandbyOutbox(tmp_path, Flaky(tmp_path / "o", failures=1), max_bytes=1000, retry_s=1.0)
    for serial in (1, 2, 3):
        outbox.store(outcome(serial))
    real, stored = SqliteOutbox.store, list[int]()

    def refuses_the_second(self: SqliteOutbox, message: Outcome, **about: Any) -> object:
        if len(stored) == 1:
            raise TransportError("full again")
        stored.append(message.serial)
        return real(self, message, **about)

    with monkeypatch.context() as patch:
        patch.setattr(SqliteOutbox, "store", refuses_the_second)
        assert not outbox.recover(0.0)
        assert not outbox.recover(2.0)
    assert "full again" in outbox.trouble
    assert serials(outbox) == [2, 3]
    assert outbox.recover(4.0)
    assert serials(outbox) == [1, 2, 3]


def test_a_disk_that_fills_up_in_the_middle_loses_nothing(tiny: Bundle, tmp_path: Path) -> None:
    """A real outbox with real messages of a core, which go out and are acknowledged all the while."""
    device = Rig(tiny)
    before = SqliteOutbox(tmp_path / "o")
    before.store(outcome(1))
    # Nobody closes it: as after a kill.
    outbox = StandbyOutbox(tmp_path / "o", lambda: SqliteOutbox(tmp_path / "o"), max_bytes=1 << 20)
    device.device._performer._outbox = outbox
    device.device._handle(OutboxChanged(outbox.outbox_id, outbox.pending()), device.now)
    device.device.outgoing()
    first, device.received = outbox.outbox_id, []
    with disk.full(4096):
        device.assign()
        device.device.deliver(
            topics.patch(rig.FLEET, rig.COHORT, "stable"),
            rig.sealed(tiny, rig.harmful(tiny), expires_s=1.0),
            device.now,
        )
        assert "kept in memory" in outbox.trouble
        assert device.device._performer.storage_errors == 1
        assert device.device.view(device.now).outbox_rows == len(outbox) == 1
        device.sync()
        (refused,) = device.outcomes
        assert refused.outbox == outbox.outbox_id != first
        assert len(outbox) == device.device.view(device.now).outbox_rows == 0
        outbox.store(outcome(7))
        assert not outbox.recover(0.0)
        assert not outbox.recover(100.0)
    assert outbox.recover(200.0)
    assert (outbox.outbox_id, outbox.trouble) == (first, "")
    assert serials(outbox) == [1, 7]


def test_memory_is_bounded_and_a_close_says_what_is_lost(tmp_path: Path) -> None:
    outbox = StandbyOutbox(tmp_path, Flaky(tmp_path / "o", failures=9), max_bytes=1000)
    outbox.store(outcome(1))
    with pytest.raises(TransportError, match="1 messages that were kept in memory are lost"):
        outbox.close()


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOTDIR])
def test_a_folder_that_may_not_be_used_is_a_mistake_to_mend(tmp_path: Path, code: int) -> None:
    with pytest.raises(TransportError):
        StandbyOutbox(tmp_path, Flaky(tmp_path / "o", failures=1, code=code), max_bytes=1000)


def test_a_folder_in_the_place_of_the_file_is_one_too(tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    with pytest.raises(TransportError):
        StandbyOutbox(tmp_path / "o", lambda: SqliteOutbox(tmp_path / "o"), max_bytes=1000)


def test_the_core_sends_what_is_in_the_new_outbox_and_heeds_its_acknowledgements(
    tiny: Bundle, tmp_path: Path
) -> None:
    """Outcomes wait unacknowledged in memory; after the move they go out under the stored's id."""
    device = Rig(tiny)
    device.assign()
    device.publish(rig.sealed(tiny, rig.harmful(tiny), expires_s=1.0))
    device.sync()
    (refused,) = device.outcomes
    stored = SqliteOutbox(tmp_path / "o")
    row = stored.store(refused)
    device.device._performer._outbox = stored
    device.device._handle(OutboxChanged(stored.outbox_id, stored.pending()), device.now)
    assert device.device.view(device.now).outbox_rows == 1
    device.sync()
    again = device.outcomes[-1]
    assert (again.outbox, again.sequence, again.serial) == (stored.outbox_id, row.sequence, refused.serial)
    assert len(stored) == 0
    assert device.device.view(device.now).outbox_rows == 0
