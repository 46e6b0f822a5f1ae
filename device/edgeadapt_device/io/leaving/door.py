"""The last look at a message before it is stored: what the privacy switches forbid does not pass.

Everything that goes into an outbox goes through here, whoever made it, so that a mistake elsewhere keeps a
frame on the device instead of letting it out. In mode "statistics" no message about a single frame passes;
in mode "embedding" none with a picture; frames of suppressed classes in no mode.
"""

from __future__ import annotations

from edgeadapt.wire import Descriptors, Outcome, Sample, SignatureReport
from edgeadapt_device.config import PrivacySection


class Withheld(Exception):
    """A message that must not leave; the text says why."""


class Door:
    """The privacy switches of one device."""

    def __init__(self, privacy: PrivacySection, suppressed: frozenset[int]) -> None:
        """`suppressed` are the numbers of the classes whose frames never leave."""
        self._mode, self._suppressed = privacy.mode, suppressed

    @property
    def open(self) -> bool:
        """True when everything may leave."""
        return self._mode == "images" and not self._suppressed

    def check(self, message: Sample | Descriptors | SignatureReport | Outcome) -> None:
        """Raises Withheld on what must not leave."""
        if isinstance(message, Sample):
            self._check_frame(message.predicted)
            if self._mode == "embedding" and (message.data or message.codec != "none"):
                raise Withheld("a picture, in privacy mode embedding")
        elif isinstance(message, Descriptors):
            for item in message.items:
                self._check_frame(item.predicted)

    def _check_frame(self, predicted: int) -> None:
        if self._mode == "statistics":
            raise Withheld("a message about a frame, in privacy mode statistics")
        if predicted in self._suppressed:
            raise Withheld("a frame of a suppressed class")
