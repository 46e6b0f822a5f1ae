"""The running generation on disk: `state.msgpack` and the patch envelopes that it names.

Envelopes are written first, under their own SHA-256, then the state, each by writing a temporary file,
syncing it and renaming it: a power cut leaves the old state or the new one. The state before is kept as
`state.msgpack.1`, and so are its envelopes. Whether a generation may be used is the core's business.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from edgeadapt.digest import sha256_hex
from edgeadapt.errors import TransportError
from edgeadapt_device.core.state import STATE_FORMAT, DeviceState

STATE_NAME = "state.msgpack"
PREVIOUS_NAME = "state.msgpack.1"
_DIGEST_BYTES = 64


class _Unusable(Exception):
    """This state cannot be loaded; another may."""


class GenerationStore:
    """The files of one device. Used from one thread."""

    def __init__(self, folder: Path) -> None:
        """Keep everything under `folder`, which is made when something is written."""
        self._folder = folder
        self._patches = folder / "patches"
        self.notes: list[str] = []

    def load(self) -> tuple[DeviceState | None, dict[str, bytes]]:
        """The last state that is whole, and its envelopes by digest; (None, {}) when there is none.

        What was found damaged is told in `notes`. Raises TransportError when the disk fails.
        """
        self.notes = []
        for name in (STATE_NAME, PREVIOUS_NAME):
            try:
                state = self._read_state(name)
                if state is not None:
                    return state, self._read_envelopes(state)
            except _Unusable as error:
                self.notes.append(f"{name}: {error}")
        return None, {}

    def commit(self, state: DeviceState, envelopes: Mapping[str, bytes]) -> None:
        """Make the state and the envelopes it names durable.

        Raises:
            TransportError: the disk refuses (it may be full); what was there before is still whole.
        """
        try:
            self._patches.mkdir(parents=True, exist_ok=True)
            named = _named(state)
            for digest in sorted(named & set(envelopes)):
                self._write_envelope(digest, envelopes[digest])
            body = msgspec.msgpack.encode(state)
            path = self._folder / STATE_NAME
            self._keep_previous(path)
            _write_durably(path, sha256_hex(body).encode() + body)
            self._remove_unreferenced(named)
        except OSError as error:
            raise TransportError(f"{self._folder}: the state cannot be written: {error}") from error

    def _read_state(self, name: str) -> DeviceState | None:
        try:
            data = (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TransportError(f"{self._folder / name}: {error}") from error
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
            try:
                data = self._envelope_path(digest).read_bytes()
            except FileNotFoundError:
                data = b""
            except OSError as error:
                raise TransportError(f"{self._envelope_path(digest)}: {error}") from error
            if sha256_hex(data) == digest:
                envelopes[digest] = data
            else:
                # Even the running one: the state around it (serials, epoch, what is blocked) is worth more.
                self.notes.append(f"patch {digest[:12]} is missing or damaged")
        return envelopes

    def _write_envelope(self, digest: str, data: bytes) -> None:
        path = self._envelope_path(digest)
        # One that was damaged is written again, though it has its size.
        if not path.is_file() or path.read_bytes() != data:
            _write_durably(path, data)

    def _keep_previous(self, path: Path) -> None:
        """The present state also becomes the previous one, without a moment in which there is none."""
        if not path.is_file():
            return
        previous = path.with_name(PREVIOUS_NAME)
        spare = path.with_name(path.name + ".link")
        spare.unlink(missing_ok=True)
        try:
            os.link(path, spare)
        except OSError:
            # Some file systems have no links (vfat, exfat); a full disk refuses the copy, too, and says so.
            _write_durably(previous, path.read_bytes())
        else:
            os.replace(spare, previous)

    def _remove_unreferenced(self, named: set[str]) -> None:
        try:
            previous = self._read_state(PREVIOUS_NAME)
        except _Unusable:
            previous = None
        keep = {self._envelope_path(d) for d in named | (_named(previous) if previous else set())}
        for path in self._patches.iterdir():
            if path not in keep:
                path.unlink(missing_ok=True)

    def _envelope_path(self, digest: str) -> Path:
        return self._patches / f"{digest}.patch"


def _named(state: DeviceState) -> set[str]:
    digests = {state.patch, *(record.digest for record in state.bank)}
    if state.trial is not None:
        digests |= {state.trial.digest, state.trial.previous}
    return digests - {""}


def _write_durably(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
