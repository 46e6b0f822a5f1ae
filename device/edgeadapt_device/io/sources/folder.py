"""A folder of files in name order, listed once: the index of a frame is its file's place in the list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from edgeadapt.errors import ConfigError
from edgeadapt_device.io.sources.base import Frame, Health, Pause, Report, Unusable, rounds
from edgeadapt_device.io.sources.files import FileReader, is_frame

# Files that are looked at for one that can be read, before the first frame.
_TRIED = 100


class FolderSource:
    """Every file of the reader's kind, once or for ever."""

    def __init__(
        self, folder: Path, reader: FileReader, *, loop: bool = False, report: Report | None = None
    ) -> None:
        """List the files, and see that one of the first can be used.

        Raises:
            ConfigError: the folder is missing or holds no such file, or none that can be used.
        """
        self._folder, self._reader, self._loop = folder, reader, loop
        try:
            names = sorted(path.name for path in folder.iterdir() if is_frame(path.name, reader.suffixes))
        except OSError as error:
            raise ConfigError(f"source.path: {folder} cannot be listed: {error}") from error
        if not names:
            raise ConfigError(f"{folder} holds no file that can be a frame ({', '.join(reader.suffixes)})")
        self._names = names
        self.health = Health(report)
        self._check()

    def _check(self) -> None:
        first: Unusable | None = None
        for name in islice(self._names, _TRIED):
            try:
                self._reader.read(self._folder / name)
            except Unusable as error:
                first = first or error
            else:
                return
        raise ConfigError(f"{self._folder}: {first}") from first

    @property
    def count(self) -> int:
        """Files in the list."""
        return len(self._names)

    def frames(self, start: int, pause: Pause) -> Iterator[Frame | None]:
        """Frames from `start`; files that cannot be used are told and use up their index.

        Raises:
            ConfigError: a whole round of a looping source had no usable file.
        """
        self.health.good()
        yield from rounds(
            start,
            self.count,
            loop=self._loop,
            read=self._read,
            nothing=f"{self._folder}: none of its files can be read any more",
        )

    def _read(self, index: int) -> Frame | None:
        name = self._names[index % len(self._names)]
        try:
            return Frame(index, self._reader.read(self._folder / name), name)
        except Unusable as error:
            self.health.skip(str(error))
            return None

    def done(self, names: Sequence[str]) -> None:
        """The files stay where they are."""

    def close(self) -> None:
        """Nothing is open."""
