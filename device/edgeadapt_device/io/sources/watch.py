"""A folder into which files are dropped: each is scored once, in the order in which they were finished.

The folder is listed again and again. A file that is still being written is waited for: it must have kept
its size and its times for a while. One that cannot be read is told, left where it is, and tried again
when it changes. What was scored is remembered in a ledger, or moved or deleted; that happens when its
prediction has reached the file of predictions, so after `kill -9` a file may be scored twice, and none is
left out. A name that comes again with another content is a new file.
"""

from __future__ import annotations

import heapq
import os
import shutil
import stat
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt_device.io.sources.base import Frame, Health, Pause, Report, SourceState, Unusable, rest
from edgeadapt_device.io.sources.files import FileReader, is_frame
from edgeadapt_device.io.sources.ledger import Ledger, fingerprint

After = Literal["keep", "move", "delete"]
LEDGER_NAME = "watched.bin"
# Files that are looked after at a time; the rest of a backlog waits for its turn.
_BATCH = 1024
# Listing the folder takes at most this share of the time.
_LISTING_SHARE = 0.1


class _Found(NamedTuple):
    """A file that is not in the ledger, as it was when the folder was listed; sorts by age."""

    ctime_ns: int
    name: str
    key: int

    @property
    def as_unusable(self) -> int:
        """Its name in the ledger when it cannot be read: one whose rights change is tried again."""
        return fingerprint(self.name, self.key, self.ctime_ns)


class WatchSource:
    """New files of one folder, for ever."""

    count = None

    def __init__(
        self,
        folder: Path,
        reader: FileReader,
        ledger: Path,
        *,
        poll_s: float,
        settle_s: float,
        after: After = "keep",
        moved_to: Path | None = None,
        report: Report | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look at the folder for the first time.

        Args:
            folder: where files are dropped; folders in it are not looked into.
            reader: reads them.
            ledger: the file that remembers what was scored.
            poll_s: pause between two listings.
            settle_s: a file that has not changed for so long is finished.
            after: what becomes of a file that was scored.
            moved_to: where it is moved; `scored` in the folder itself when None.
            report: told what goes wrong, from the reader's thread.
            clock: monotonic seconds.

        Raises:
            ConfigError: the folder is missing, or files cannot be moved to where they shall be.
        """
        if not folder.is_dir():
            raise ConfigError(f"source.path: {folder} is missing, or no folder")
        self._folder, self._reader, self._clock = folder, reader, clock
        self._poll_s, self._settle_s, self._after = poll_s, settle_s, after
        self._moved_to = moved_to if moved_to is not None else folder / "scored"
        if after == "move":
            try:
                self._moved_to.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(f"source.moved_to: {self._moved_to} cannot be made: {error}") from error
        self._ledger, self._ledger_path = Ledger(None), ledger
        self.health = Health(report)
        self._since: dict[str, tuple[int, float]] = {}
        self._out: dict[str, _Found] = {}
        self._done: deque[str] = deque()

    def frames(self, start: int, pause: Pause) -> Iterator[Frame | None]:
        """New files for ever, numbered from `start`."""
        index = start
        # Not before: another process may have the state folder.
        self._quietly(self._open_ledger)
        while True:
            began_s = self._clock()
            ready = self._list()
            rest_s = max(self._poll_s, (self._clock() - began_s) / _LISTING_SHARE)
            for found in ready:
                self._finish()
                frame = self._read(index, found)
                index += frame is not None
                yield frame
            self._finish()
            if len(ready) < _BATCH:
                yield from rest(rest_s, pause, self._clock)

    def _open_ledger(self) -> None:
        self._ledger = Ledger(self._ledger_path)

    # Finding

    def _list(self) -> list[_Found]:
        """Finished files that were not scored, oldest first."""
        known = array("Q")
        try:
            waiting = heapq.nsmallest(_BATCH, self._unknown(known))
        except OSError as error:
            self.health.bad(SourceState.LOST, f"{self._folder} cannot be listed: {error}")
            return []
        if not waiting or self.health.seen.trouble:
            self.health.good(SourceState.WAITING)
        self._quietly(lambda: self._ledger.forget_others(known))
        now_s, before, self._since = self._clock(), self._since, {}
        ready = []
        for found in waiting:
            key, since_s = before.get(found.name, (0, now_s))
            if key != found.key:
                since_s = now_s
            self._since[found.name] = found.key, since_s
            if now_s - since_s >= self._settle_s:
                ready.append(found)
        return ready

    def _unknown(self, known: array[int]) -> Iterator[_Found]:
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if not is_frame(entry.name, self._reader.suffixes) or entry.name in self._out:
                    continue
                found = _look(entry.name, entry)
                if found is None:
                    continue
                if found.key in self._ledger:
                    known.append(found.key)
                elif found.as_unusable in self._ledger:
                    known.append(found.as_unusable)
                else:
                    yield found

    def _read(self, index: int, found: _Found) -> Frame | None:
        path = self._folder / found.name
        try:
            image = self._reader.read(path)
        except Unusable as error:
            if _look(found.name, path) == found:
                self.health.skip(str(error))
                self._quietly(lambda: self._ledger.add([found.as_unusable]))
            return None
        if _look(found.name, path) != found:
            return None  # It changed while it was read; the next listing finds it.
        self.health.good()
        self._out[found.name] = found
        return Frame(index, image, found.name)

    # What becomes of them

    def done(self, names: Sequence[str]) -> None:
        """Their predictions are written; from any thread."""
        self._done.extend(names)

    def close(self) -> None:
        """Finish what `done` asked for."""
        self._finish()

    def _finish(self) -> None:
        remembered = []
        while self._done:
            found = self._out.pop(self._done.popleft(), None)
            if found is not None and (self._after == "keep" or not self._put_away(found)):
                remembered.append(found.key)
        if remembered:
            self._quietly(lambda: self._ledger.add(remembered))

    def _put_away(self, found: _Found) -> bool:
        """Move or delete; False when it stays."""
        path = self._folder / found.name
        if _look(found.name, path) != found:
            return True  # Already another file, which is scored in its turn, or none.
        try:
            if self._after == "delete":
                path.unlink()
            else:
                # It may have gone with the watched folder, which is a new one now.
                self._moved_to.mkdir(exist_ok=True)
                shutil.move(path, _free(self._moved_to / found.name))
        except OSError as error:
            self.health.tell(f"{path} was scored and stays where it is: {error}")
            return False
        return True

    def _quietly(self, write: Callable[[], None]) -> None:
        """A disk that refuses is said; what it does not remember is scored again after a restart."""
        try:
            write()
        except TransportError as error:
            self.health.tell(f"storage: {error}")


def _look(name: str, place: os.DirEntry[str] | Path) -> _Found | None:
    """The file as it is now; None for one that is gone, or is no plain file."""
    try:
        seen = place.stat()
    except OSError:
        return None
    if not stat.S_ISREG(seen.st_mode):
        return None
    return _Found(seen.st_ctime_ns, name, fingerprint(name, seen.st_size, seen.st_mtime_ns))


def _free(path: Path) -> Path:
    """`path`, or the first name like it that is not taken."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free
