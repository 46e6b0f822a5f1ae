"""What a device has been told, in the form in which it outlives a restart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeadapt.wire import Versions
from edgeadapt_device.core.state import Assignment

REMEMBERED_COMMANDS = 64


@dataclass(frozen=True, slots=True)
class Told:
    """Everything that came down and still counts.

    Attributes:
        serials: the last serial that was believed, per cohort.
        assignments: cohorts of segments, oldest first.
        blocked: digests of patches that must not run here, and names of their values, oldest first.
        budget_bytes_per_hour: the rate that the cloud has set, or None.
        commands: ids of the last orders that were obeyed.
        cloud_speaks: the lowest and the highest version of the protocol that the cloud speaks, or None.
    """

    serials: Mapping[str, int] = field(default_factory=dict)
    assignments: tuple[Assignment, ...] = ()
    blocked: tuple[str, ...] = ()
    budget_bytes_per_hour: int | None = None
    budget_bytes_per_day: int | None = None
    commands: tuple[str, ...] = ()
    cloud_speaks: Versions | None = None
