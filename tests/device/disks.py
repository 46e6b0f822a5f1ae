"""Disks for tests: one that ends the process at a step, and one that tells what a power cut would leave."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from edgeadapt_device.io.durable import Disk

Step = tuple[str, Path, Path | None, bytes]


class KillingDisk(Disk):
    """A real disk; the process is killed at its step number `at`, from 0: a write is cut off half-way."""

    def __init__(self, at: int) -> None:
        self.at, self.steps = at, 0

    def _step(self) -> bool:
        """True at the step; the caller may do a part of it before it calls `_kill`."""
        self.steps += 1
        return self.steps - 1 == self.at

    def _kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def write(self, path: Path, data: bytes) -> None:
        if self._step():
            super().write(path, data[: len(data) // 2])
            self._kill()
        super().write(path, data)

    def overwrite(self, path: Path, data: bytes) -> None:
        if self._step():
            self._kill()
        super().overwrite(path, data)

    def sync(self, path: Path) -> None:
        if self._step():
            self._kill()
        super().sync(path)

    def sync_folder(self, folder: Path) -> None:
        if self._step():
            self._kill()
        super().sync_folder(folder)

    def replace(self, source: Path, target: Path) -> None:
        if self._step():
            self._kill()
        super().replace(source, target)

    def link(self, source: Path, target: Path) -> None:
        if self._step():
            self._kill()
        super().link(source, target)

    def unlink(self, path: Path) -> None:
        if self._step():
            self._kill()
        super().unlink(path)

    def make_folder(self, folder: Path) -> None:
        if self._step():
            self._kill()
        super().make_folder(folder)


class RecordingDisk(Disk):
    """A real disk that writes down every step; `cut` makes the folder that a power cut would leave."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.steps: list[Step] = []

    def write(self, path: Path, data: bytes) -> None:
        self.steps.append(("write", path, None, data))
        super().write(path, data)

    def overwrite(self, path: Path, data: bytes) -> None:
        self.steps.append(("overwrite", path, None, data))
        super().overwrite(path, data)

    def sync(self, path: Path) -> None:
        self.steps.append(("sync", path, None, b""))
        super().sync(path)

    def sync_folder(self, folder: Path) -> None:
        self.steps.append(("sync_folder", folder, None, b""))
        super().sync_folder(folder)

    def replace(self, source: Path, target: Path) -> None:
        self.steps.append(("replace", target, source, b""))
        super().replace(source, target)

    def link(self, source: Path, target: Path) -> None:
        self.steps.append(("link", target, source, b""))
        super().link(source, target)

    def unlink(self, path: Path) -> None:
        self.steps.append(("unlink", path, None, b""))
        super().unlink(path)

    def make_folder(self, folder: Path) -> None:
        self.steps.append(("make_folder", folder, None, b""))
        super().make_folder(folder)

    def cut(self, count: int, target: Path, *, names_survive: bool) -> None:
        """Lay out in `target` what is left when the power goes after the first `count` steps.

        Content that was not synced is gone: the file is empty. Names that were not synced are as they were
        after the last sync of their folder; or, with `names_survive`, all of them reached the disk.
        """
        model = _Model(self.root)
        for kind, path, source, data in self.steps[:count]:
            model.take(kind, path, source, data)
        for path, content in model.left(names_survive=names_survive).items():
            place = target / path.relative_to(self.root)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)


class _Inode:
    def __init__(self) -> None:
        self.content, self.synced = b"", b""


class _Model:
    """Names point at inodes; both have a present and a durable state."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[Path, _Inode] = {}
        self._durable: dict[Path, _Inode] = {}

    def take(self, kind: str, path: Path, source: Path | None, data: bytes) -> None:
        if kind == "write":
            inode = self._names[path] = _Inode()
            inode.content = data
        elif kind == "overwrite":
            inode = self._names.setdefault(path, _Inode())
            inode.content = inode.synced = data
        elif kind == "sync":
            self._names[path].synced = self._names[path].content
        elif kind == "sync_folder":
            self._durable = {p: i for p, i in self._durable.items() if p.parent != path}
            self._durable.update({p: i for p, i in self._names.items() if p.parent == path})
        elif kind == "replace" and source is not None:
            self._names[path] = self._names.pop(source)
        elif kind == "link" and source is not None:
            self._names[path] = self._names[source]
        elif kind == "unlink":
            self._names.pop(path, None)

    def left(self, *, names_survive: bool) -> dict[Path, bytes]:
        names = self._names if names_survive else self._durable
        return {path: inode.synced for path, inode in names.items()}
