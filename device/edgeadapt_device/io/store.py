"""The running generation on disk: `state.msgpack`, the patch envelopes that it names, and `starts`.

Envelopes are written first, under their own SHA-256, then the state (`io.durable`): a kill or a power cut
leaves the old state or the new one, with all that it names. The state before is kept as
`state.msgpack.1`, and so are its envelopes. `starts` holds one digit: how many starts in a row have not come
to score frames; it is overwritten in place, which a full disk allows as well. What is damaged is told in
`notes`, and what bears a name that is needed is moved aside. Whether a generation may be used is the core's
business.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from edgeadapt.digest import sha256_hex
from edgeadapt.errors import TransportError
from edgeadapt_device.core.state import STATE_FORMAT, DeviceState
from edgeadapt_device.io import durable
from edgeadapt_device.io.durable import Disk

STATE_NAME = "state.msgpack"
PREVIOUS_NAME = "state.msgpack.1"
STARTS_NAME = "starts"
_DIGEST_BYTES = 64
_MOST_STARTS = 9


class _Unusable(Exception):
    """This state cannot be loaded; another may."""


class GenerationStore:
    """The files of one device. Used from one thread.

    Attributes:
        notes: what the last `load` found damaged.
    """

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        """Keep everything under `folder`, which is made when something is written."""
        self._folder, self._disk = folder, disk if disk is not None else Disk()
        self._patches = folder / "patches"
        self.notes: list[str] = []

    def load(self) -> tuple[DeviceState | None, dict[str, bytes]]:
        """The last state that is whole, and its envelopes by digest; (None, {}) when there is none.

        What was found damaged, or could not be read, is told in `notes`.
        """
        self.notes = []
        for name in (STATE_NAME, PREVIOUS_NAME):
            try:
                state = self._read_state(name)
            except _Unusable as error:
                self.notes.append(f"{name}: {error}")
                continue
            if state is not None:
                return state, self._read_envelopes(state)
        return None, {}

    def commit(self, state: DeviceState, envelopes: Mapping[str, bytes]) -> None:
        """Make the state and the envelopes it names durable.

        Raises:
            TransportError: the disk refuses (it may be full); what was there before is still whole.
        """
        try:
            durable.make_folders(self._disk, self._patches, self._folder)
            named = _named(state)
            for digest in sorted(named & set(envelopes)):
                self._write_envelope(digest, envelopes[digest])
            body = msgspec.msgpack.encode(state)
            path = self._folder / STATE_NAME
            self._keep_previous(path)
            durable.write(self._disk, path, sha256_hex(body).encode() + body)
            self._remove_unreferenced(named)
        except OSError as error:
            raise TransportError(f"{self._folder}: the state cannot be written: {error}") from error

    def failed_starts(self) -> int:
        """Starts in a row that did not come to score frames; 0 when that cannot be read."""
        try:
            digit = (self._folder / STARTS_NAME).read_bytes()[:1]
        except OSError:
            return 0
        return int(digit) if digit.isdigit() else 0

    def count_starts(self, failed: int) -> None:
        """Make durable how many starts in a row have failed by now; raises TransportError."""
        path = self._folder / STARTS_NAME
        try:
            durable.make_folders(self._disk, self._folder, self._folder)
            fresh = not path.is_file()
            if fresh and os.path.lexists(path):
                durable.move_aside(self._disk, path)
            self._disk.overwrite(path, str(min(failed, _MOST_STARTS)).encode())
            if fresh:
                self._disk.sync_folder(self._folder)
        except OSError as error:
            raise TransportError(f"{path}: cannot be written: {error}") from error

    def _read_state(self, name: str) -> DeviceState | None:
        try:
            data = (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _Unusable(f"cannot be read: {error.strerror or error}") from error
        digest, body = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if digest != sha256_hex(body).encode():
            raise _Unusable("damaged: its digest does not match")
        try:
            state = msgspec.msgpack.decode(body, type=DeviceState)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _Unusable(f"not a state of this release: {error}") from error
        if state.format != STATE_FORMAT:
            raise _Unusable(f"format {state.format}, this release reads {STATE_FORMAT}")
        return state

    def _read_envelopes(self, state: DeviceState) -> dict[str, bytes]:
        envelopes: dict[str, bytes] = {}
        for digest in sorted(_named(state)):
            data = self._read_envelope(digest)
            if data is not None and sha256_hex(data) == digest:
                envelopes[digest] = data
            else:
                # Even the running one: the state around it (serials, epoch, what is blocked) is worth more.
                self.notes.append(f"patch {digest[:12]} is missing or damaged")
        return envelopes

    def _read_envelope(self, digest: str) -> bytes | None:
        try:
            return self._envelope_path(digest).read_bytes()
        except OSError:
            return None

    def _write_envelope(self, digest: str, data: bytes) -> None:
        path = self._envelope_path(digest)
        # One that was damaged is written again, though it has its size.
        if self._read_envelope(digest) == data:
            return
        if path.is_dir():
            durable.move_aside(self._disk, path)
        durable.write(self._disk, path, data)

    def _keep_previous(self, path: Path) -> None:
        """The present state also becomes the previous one, without a moment in which there is none."""
        previous, spare = path.with_name(PREVIOUS_NAME), path.with_name(path.name + ".link")
        for name in (path, previous, spare):
            if name.is_dir():
                durable.move_aside(self._disk, name)
        try:
            present = self._read_state(STATE_NAME)
        except _Unusable:
            present = None
        if present is None:
            # A damaged one must not take the place of what may be the last that is whole.
            return
        self._disk.unlink(spare)
        try:
            self._disk.link(path, spare)
        except OSError:
            # No links on this file system; a full disk refuses the copy, too, and says so.
            durable.write(self._disk, previous, path.read_bytes())
        else:
            self._disk.replace(spare, previous)

    def _remove_unreferenced(self, named: set[str]) -> None:
        try:
            previous = self._read_state(PREVIOUS_NAME)
        except _Unusable:
            previous = None
        keep = {self._envelope_path(d) for d in named | (_named(previous) if previous else set())}
        for path in self._patches.iterdir():
            if path not in keep and not path.is_dir():
                self._disk.unlink(path)

    def _envelope_path(self, digest: str) -> Path:
        return self._patches / f"{digest}.patch"


def _named(state: DeviceState) -> set[str]:
    digests = {state.patch, *(record.digest for record in state.bank)}
    if state.trial is not None:
        digests |= {state.trial.digest, state.trial.previous}
    return digests - {""}
