"""Which version of the protocol the service and each device speak to each other.

Both say it in their retained status; what is sent to a device is written in the highest version in common.
A device that has none is sent nothing, and takes no part until one side has been updated. A device that has
not said anything yet is spoken to in the lowest version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgeadapt.wire import (
    PROTOCOL_VERSION,
    SPEAKS,
    ServerStatus,
    Versions,
    encode,
    highest_common,
    restamp,
)
from edgeadapt.wire.topics import cloud_status
from edgeadapt.wire.versions import in_words
from edgeadapt_cloud.core.effects import Effect, Publish
from edgeadapt_cloud.core.rows import DeviceRow


class Accords:
    """What was agreed with each device, as its row says."""

    def __init__(self, fleet: str, epoch: int = 0, speaks: Versions = SPEAKS) -> None:
        """`epoch` rises with each start of the service."""
        self.fleet, self.epoch, self.speaks = fleet, epoch, speaks

    def version(self, row: DeviceRow | None) -> int | None:
        """The version to speak to a device, or None when there is none."""
        if row is None or row.speaks is None:
            return self.speaks[0]
        return highest_common(self.speaks, row.speaks)

    def fit(self, effects: list[Effect], rows: Mapping[str, DeviceRow]) -> list[Effect]:
        """The effects, with every message to a device in its version; what it could not read is left out."""
        fitting: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Publish) and (device := self._receiver(effect.topic)):
                version = self.version(rows.get(device))
                if version is None:
                    continue
                if version != PROTOCOL_VERSION and effect.payload:
                    effect = replace(effect, payload=restamp(effect.payload, version))
            fitting.append(effect)
        return fitting

    def status(self) -> Publish:
        """The birth of this service."""
        message = ServerStatus(epoch=self.epoch, online=True, speaks=self.speaks)
        return Publish(cloud_status(self.fleet), encode(message), retain=True)

    def trouble(self, device: str, row: DeviceRow) -> str:
        """Why a device is sent nothing, or ""."""
        if row.speaks is None or self.version(row) is not None:
            return ""
        return why_apart(device, self.speaks, row.speaks)

    def _receiver(self, topic: str) -> str:
        parts = topic.split("/")
        return parts[3] if len(parts) == 6 and parts[4] == "down" else ""


def why_apart(device: str, mine: Versions, theirs: Versions) -> str:
    """What to say of a device that has no version in common with the service."""
    behind = theirs[1] < mine[0]
    return (
        f"{device} speaks protocol {in_words(theirs)}, this service {in_words(mine)}: "
        f"update the {'device' if behind else 'service'}; until then nothing is sent to it"
    )
