"""The device's decisions: events and the time in, effects out. No clock, no threads, no I/O."""

from edgeadapt_device.core.core import DeviceCore
from edgeadapt_device.core.view import CoreView, FramePlan

__all__ = ["CoreView", "DeviceCore", "FramePlan"]
