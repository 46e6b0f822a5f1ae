"""What a device measures of its own: which frames (`probing`, `glance`), and what becomes of it (`own`,
`embedding`)."""

from edgeadapt_device.core.adapt.statistics.own import OwnStatistics
from edgeadapt_device.core.adapt.statistics.probing import Probing

__all__ = ["OwnStatistics", "Probing"]
