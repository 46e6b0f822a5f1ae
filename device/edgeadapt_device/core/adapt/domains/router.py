"""When a segment is in a domain that the device remembers.

The first look into the bank, a few probed frames into a segment, takes the nearest domain within the
match distance and what chance adds to it. The segment's signature becomes surer with every frame, so the
choice is looked at again; but it is changed only for a domain that is nearer by a margin, several frames in a
row: between two domains that are alike a device does not go to and fro. A domain that is far from all of them
is an unknown one, and gets the base with the device's own statistics. So does one whose frames look as the
source's do in the classes that are seen (`home`): the signature of one class alone lies as near to a domain
that is a little off as to the source.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeadapt.bundle.calibration import Calibration
from edgeadapt.signature import Signature, distance
from edgeadapt_device.config import DomainsSection
from edgeadapt_device.core.adapt.domains.bank import BankEntry, PatchBank


@dataclass(frozen=True, slots=True)
class Route:
    """What to run in this segment; None is the base."""

    entry: BankEntry | None


class Router:
    """The choice for the present segment."""

    def __init__(self, bank: PatchBank, calibration: Calibration, config: DomainsSection) -> None:
        self._bank, self._calibration, self._config = bank, calibration, config
        self.looked = False
        self._streak: tuple[BankEntry | None, int] = (None, 0)

    def new_segment(self, *, looked: bool = False) -> None:
        """Begin a segment; `looked`: the choice was made already, before a restart."""
        self.looked = looked
        self._streak = (None, 0)

    def choose(
        self, domain: Signature, frames: int, running: BankEntry | None, *, at_home: bool = False
    ) -> Route | None:
        """What to run instead of `running` after so many probed frames of a segment; None: nothing else."""
        if frames < self._config.match_frames:
            return None
        nearest = None if at_home else self._bank.nearest(domain.vector, self._reach(domain))
        if not self.looked:
            self.looked = True
            return Route(nearest) if nearest is not None else None
        patched = running is not None and bool(running.patch.values)
        better = patched if at_home else self._is_better(nearest, domain, running)
        if nearest is running or not better:
            self._streak = (None, 0)
            return None
        candidate, count = self._streak
        count = count + 1 if candidate is nearest else 1
        self._streak = (nearest, count)
        if count < self._config.patience_frames:
            return None
        self._streak = (None, 0)
        return Route(nearest)

    def _reach(self, domain: Signature) -> float:
        """How far a domain may be to be this one: a mean of n frames is 1/sqrt(n) away from its own."""
        return float(np.hypot(self._config.match_distance, max(domain.count, 1) ** -0.5))

    def _is_better(self, candidate: BankEntry | None, domain: Signature, running: BankEntry | None) -> bool:
        """True when the margin speaks for the change."""
        margin, present = self._config.hysteresis, self._away(running, domain)
        if candidate is None:
            # The source is nearer, or nothing is near.
            home = distance(domain.vector, self._calibration.signature_mean, self._calibration)
            return present > min(home, self._reach(domain)) + margin
        return self._away(candidate, domain) < present - margin

    def _away(self, entry: BankEntry | None, domain: Signature) -> float:
        """Distance of an entry's domain; the base is right where nothing is near, or the source is."""
        if entry is None:
            home = distance(domain.vector, self._calibration.signature_mean, self._calibration)
            return min(home, self._reach(domain))
        return distance(domain.vector, entry.signature, self._calibration)
