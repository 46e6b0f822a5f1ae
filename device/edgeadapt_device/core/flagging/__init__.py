"""What a frame is to the model: familiar, informative, shifted, unknown or unreliable, and why.

A frame goes `Flagging.judge` (scores, p-values, verdict) and then `Flagging.follow`: what is strange before
the model has adapted waits as a suspect and is scored again once it has; what is strange then is quarantined,
clustered, and asked about once per cluster. Not here: what is worth its bytes (`core.uplink`).
"""

from __future__ import annotations

from edgeadapt_device.core.flagging.decision import Decision, WindowVerdict

__all__ = ["Decision", "WindowVerdict"]
