"""Orders that somebody gives at the device itself: a file in, a file out, both in the state folder.

Whoever may write the state folder may give orders; nobody else is listened to. The owning loop looks for
`order.json` a few times a second, obeys, and writes `answer.json` when the order is carried out. Files
work on every disk and need neither a port nor a socket, and an order given to a loop that hangs is not
lost. A device that does not run is edited by `stopped`, through the same core.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from edgeadapt.clock import Instant
from edgeadapt.errors import TransportError
from edgeadapt_device.core import DeviceCore
from edgeadapt_device.core import events as ev
from edgeadapt_device.service.purge import Purge

ORDER_NAME = "order.json"
ANSWER_NAME = "answer.json"
_LOOK_EVERY_S = 0.1
_MAX_BYTES = 4096
_MAX_REASON = 200
_POLL_S = 0.05


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Back to the base, or, with `purge`, rows out of the outbox.

    `id` is the asker's, `reason` is reported to the cloud.
    """

    id: str
    reason: str
    purge: Purge | None = None


class Answer(msgspec.Struct, frozen=True):
    """What became of an order: `done` when generation `to` scores the frames, and no longer `before`.

    Of a purge: `purged` rows are gone.
    """

    id: str
    done: bool
    before: str
    to: str
    trouble: str = ""
    purged: int = 0


class Desk:
    """Where a running device takes orders. Used from the thread that owns the core."""

    def __init__(
        self, state_dir: Path, report: Callable[[str], None], delete: Callable[[Purge, Instant], int]
    ) -> None:
        """Look in `state_dir`; what cannot be read or answered is told to `report`.

        `delete` takes rows out of the outbox and tells the core, and raises TransportError.
        """
        self._delete = delete
        self._order, self._answer = state_dir / ORDER_NAME, state_dir / ANSWER_NAME
        self._report = report
        self._due_s = float("-inf")
        self._open: tuple[Order, str] | None = None

    def tend(self, core: DeviceCore, handle: Callable[[ev.Event, Instant], None], now: Instant) -> None:
        """Take an order when there is one, and answer the one in hand once it is carried out.

        Args:
            core: has a generation that scores.
            handle: gives the core an event and performs what follows.
            now: the moment.
        """
        if self._open is None:
            if now.mono_s < self._due_s:
                return
            self._due_s = now.mono_s + _LOOK_EVERY_S
            order = self._take()
            if order is None:
                return
            if order.purge is not None:
                self._say(self._purged(order, order.purge, now))
                return
            self._open = (order, core.view(now).generation)
            handle(ev.Rollback(order.reason[:_MAX_REASON]), now)
        if not core.adaptation.switching.generations.busy:
            (order, before), self._open = self._open, None
            self._say(_outcome(order, before, core.view(now).generation))

    def _purged(self, order: Order, purge: Purge, now: Instant) -> Answer:
        try:
            return Answer(order.id, True, "", "", purged=self._delete(purge, now))
        except TransportError as error:
            return Answer(order.id, False, "", "", str(error))

    def _take(self) -> Order | None:
        if not self._order.exists():
            return None
        try:
            with self._order.open("rb") as file:
                data = file.read(_MAX_BYTES)
            self._order.unlink()
            return msgspec.json.decode(data, type=Order)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            # One that stays where it is must not be obeyed ten times a second.
            self._report(f"{self._order} is no order: {error}")
            return None

    def _say(self, answer: Answer) -> None:
        try:
            _write(self._answer, msgspec.json.encode(answer))
        except OSError as error:
            self._report(f"{self._answer} cannot be written: {error}")


def _outcome(order: Order, before: str, now: str) -> Answer:
    trouble = "" if now == "base" else "the base could not be built; the log says why"
    return Answer(order.id, not trouble, before, now, trouble)


def give(
    state_dir: Path,
    reason: str,
    *,
    patience_s: float,
    runs: Callable[[], bool],
    purge: Purge | None = None,
) -> Answer | None:
    """Order a running device back to its base, or rows out of its outbox, and wait for its answer.

    Returns:
        The answer; None when the device ended before it took the order, which is taken back then.

    Raises:
        TransportError: the folder cannot be written, or no answer came in time.
    """
    order, path = Order(secrets.token_hex(8), reason, purge), state_dir / ORDER_NAME
    answer_path, deadline_s = state_dir / ANSWER_NAME, time.monotonic() + patience_s
    try:
        _write(path, msgspec.json.encode(order))
    except OSError as error:
        raise TransportError(
            f"{path} cannot be written: {error}. Give the order as the user whose folder it is, or as root"
        ) from error
    try:
        while (answer := _answer_to(order, answer_path)) is None:
            if not runs():
                return _after_the_end(order, path, answer_path)
            if time.monotonic() >= deadline_s:
                taken = "is at it" if not path.exists() else "does not take it: its loop hangs"
                raise TransportError(f"no answer to the order in {patience_s:g} s; the device {taken}")
            time.sleep(_POLL_S)
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
    with suppress(OSError):
        answer_path.unlink(missing_ok=True)
    return answer


def _after_the_end(order: Order, path: Path, answer_path: Path) -> Answer | None:
    answer = _answer_to(order, answer_path)
    if answer is None and not path.exists():
        raise TransportError("the device ended before it had answered: look at its log, and order again")
    return answer


def _answer_to(order: Order, path: Path) -> Answer | None:
    try:
        answer = msgspec.json.decode(path.read_bytes(), type=Answer)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return answer if answer.id == order.id else None


def _write(path: Path, data: bytes) -> None:
    """Replace a file as a whole, readable by all: whoever asks may be another user than the device."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(data)
    temporary.chmod(0o644)
    os.replace(temporary, path)
