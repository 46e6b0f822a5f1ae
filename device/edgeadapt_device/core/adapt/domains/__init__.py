"""Which domain a device is in (`tracker`), what it remembers of others (`bank`), and when it is back in one
(`router`), be it for one frame (`frames`), or at home (`home`)."""

from edgeadapt_device.core.adapt.domains.bank import BankEntry, PatchBank
from edgeadapt_device.core.adapt.domains.frames import FrameRouter
from edgeadapt_device.core.adapt.domains.home import Home
from edgeadapt_device.core.adapt.domains.router import Router
from edgeadapt_device.core.adapt.domains.tracker import DomainTracker

__all__ = ["BankEntry", "DomainTracker", "FrameRouter", "Home", "PatchBank", "Router"]
