"""What a frame is to the model: familiar, informative, shifted, unknown or unreliable, and why."""

from __future__ import annotations

from edgeadapt_device.core.flagging.decider import Decider
from edgeadapt_device.core.flagging.decision import Decision

__all__ = ["Decider", "Decision"]
