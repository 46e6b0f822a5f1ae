"""Reads a device's predictions file while the device still writes it.

Format: CSV with the columns frame, prediction, entropy, generation, segment, flagged and verdict; a header or
none. A device of an older release writes no verdicts.
A line that is not finished yet waits for the next call. After a restart a device may score a frame
again: what it said first counts, as a user saw it first.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeadapt.errors import TransportError

NOT_SCORED = -1
_COLUMNS, _OLD_COLUMNS = 7, 6


class PredictionsTail:
    """The predictions of a stream of `frames` frames so far.

    Attributes:
        labels: int64 [N], the predicted class, NOT_SCORED for frames to come.
        flagged: how many frames the device flagged.
        verdicts: how many frames the device called what.
        generation: name of the generation that scored the last frame.
        segment: the device's own count of domains, at the last frame.
        count: frames scored in one piece from the start.
    """

    def __init__(self, path: Path, frames: int) -> None:
        self.labels: npt.NDArray[np.int64] = np.full(frames, NOT_SCORED, dtype=np.int64)
        self.flagged = 0
        self.verdicts: Counter[str] = Counter()
        self.generation = ""
        self.segment = 0
        self.count = 0
        self._path = path
        self._offset = 0

    def read(self) -> int:
        """Take in the lines that have been added; returns `count`.

        Raises:
            TransportError: a line that is no prediction; names the file.
        """
        if not self._path.is_file():
            return self.count
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.decode("utf-8").splitlines():
            if line and not line.startswith("frame"):
                self._line(line)
        while self.count < len(self.labels) and self.labels[self.count] != NOT_SCORED:
            self.count += 1
        return self.count

    def _line(self, line: str) -> None:
        cells = line.split(",")
        try:
            if len(cells) not in (_COLUMNS, _OLD_COLUMNS):
                raise ValueError(f"{len(cells)} columns")
            frame, label = int(cells[0]), int(cells[1])
            segment, flagged = int(cells[4]), cells[5].strip().lower() in ("1", "true")
        except ValueError as error:
            raise TransportError(f"{self._path}: not a prediction: {line!r} ({error})") from error
        if 0 <= frame < len(self.labels) and self.labels[frame] == NOT_SCORED:
            self.labels[frame] = label
            self.flagged += flagged
            if len(cells) == _COLUMNS:
                self.verdicts[cells[6].strip()] += 1
            self.generation, self.segment = cells[3], segment
