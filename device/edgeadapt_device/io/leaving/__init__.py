"""What leaves the device: from a chosen frame to the bytes of a sample, and the door that they go through."""

from __future__ import annotations

from collections.abc import Sequence

from edgeadapt_device.config import PrivacySection, suppressed_classes
from edgeadapt_device.io.leaving.door import Door, Withheld
from edgeadapt_device.io.leaving.encoder import ROW_BYTES, Encoder, TooDear

__all__ = ["ROW_BYTES", "Door", "Encoder", "Leaving", "TooDear", "Withheld"]


class Leaving:
    """The encoder and the door of one device, under one configuration."""

    def __init__(self, privacy: PrivacySection, classes: Sequence[str]) -> None:
        """Raises ConfigError on a redactor that is not installed, or a class that the model does not know."""
        self.encoder = Encoder(privacy)
        self.door = Door(privacy, suppressed_classes(privacy, classes))
