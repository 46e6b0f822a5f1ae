"""The configuration that `edgeadapt device example-config` prints: everything there is, at its default."""

from __future__ import annotations

from edgeadapt.config.example import example_toml
from edgeadapt_device.config import DeviceConfig

_INTRO = """\
# Configuration of a device: `edgeadapt device run --config device.toml`.
# To begin, set [device] bundle and [source] path; [trust] keys, too, if a cloud is to send patches.
# Every other value shown is the default, and may be left out. Any key can be set from the environment
# as well, for instance EDGEADAPT__MQTT__HOST=broker.local

"""


def device_toml() -> str:
    """The whole text."""
    return _INTRO + example_toml(DeviceConfig, {"device.name": "camera-1"})
