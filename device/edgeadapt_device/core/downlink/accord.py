"""Which version of the protocol this device and its cloud speak to each other.

The cloud says in its retained status what it speaks. Until then, and for a cloud that says nothing, the
device speaks its lowest version, or what the last process agreed on. With no version in common nothing but
the device's own status is sent; the outbox keeps everything for the day when one side has been updated.
"""

from __future__ import annotations

from edgeadapt.wire import SPEAKS, ServerStatus, Versions, highest_common
from edgeadapt.wire.versions import in_words


class Accord:
    """What was agreed.

    Attributes:
        speaks: the lowest and the highest version of this device.
        cloud: the same of the cloud, as it last said; None before it did.
    """

    def __init__(self, speaks: Versions = SPEAKS, cloud: Versions | None = None) -> None:
        """Go on with what the cloud said to an earlier process."""
        self.speaks, self.cloud = speaks, cloud
        self._epoch = 0

    @property
    def protocol(self) -> int | None:
        """The version to speak, or None when there is none."""
        return self.speaks[0] if self.cloud is None else highest_common(self.speaks, self.cloud)

    @property
    def trouble(self) -> str:
        """Why nothing can be sent, and what helps; "" when it can."""
        if self.cloud is None or self.protocol is not None:
            return ""
        behind = self.speaks[1] < self.cloud[0]
        return (
            f"the cloud speaks protocol {in_words(self.cloud)}, this device {in_words(self.speaks)}: "
            f"update the {'device' if behind else 'cloud'}; until then everything waits in the outbox"
        )

    def hear(self, status: ServerStatus) -> bool:
        """The cloud says what it speaks; True when that is news. The death of an older service is none."""
        if not status.online and status.epoch < self._epoch:
            return False
        self._epoch = status.epoch
        news, self.cloud = status.speaks != self.cloud, status.speaks
        return news
