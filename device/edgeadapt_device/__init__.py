"""The device: runs the model at full speed, keeps it in tune, asks the cloud for help within a budget.

For a loop of your own:

    from edgeadapt_device import Agent

Start reading at `core.core` (what the device decides; no I/O), `machine` (the parts and how they work
together), `daemon` (the real process), `agent` (the same for a caller's loop) and `local` (inline, for
simulators and tests). Nothing here imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeadapt_device.agent import Agent, Result
    from edgeadapt_device.config import DeviceConfig
    from edgeadapt_device.status import DeviceStatus

__all__ = ["Agent", "DeviceConfig", "DeviceStatus", "Result"]

_HOMES = {"Agent": "agent", "Result": "agent", "DeviceConfig": "config", "DeviceStatus": "status"}


def __getattr__(name: str) -> object:
    """Load what is asked for and no more: the command line imports this package for its help, too."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
