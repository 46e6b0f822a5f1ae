"""Adaptation: from a cohort's uploads to a judged patch. The only part of the service that imports torch.

Start at `adapter` for the course of a job, `strategies` for how patches are made, `gate` for what they
have to pass.
"""

from edgeadapt_cloud.adapt.adapter import Adapter, Networks
from edgeadapt_cloud.adapt.settings import AdaptSettings, make_settings
from edgeadapt_cloud.adapt.source import LabelledSource
from edgeadapt_cloud.adapt.strategies import STRATEGIES

__all__ = [
    "STRATEGIES",
    "AdaptSettings",
    "Adapter",
    "LabelledSource",
    "Networks",
    "make_settings",
    "strategies",
]


def strategies() -> tuple[str, ...]:
    """Names of the registered strategies, sorted."""
    return STRATEGIES.names()
