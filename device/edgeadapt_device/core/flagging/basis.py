"""What a frame's verdict rests on: whose knots hold for it, and whether it may be called unknown.

    at the source's domain               the bundle's knots
    under a patch that brings some       the patch's, wherever it is
    elsewhere, and without any           the device's own of its domain (`domain_knots`), made from the frames
                                         that the adapted model scores; until there are enough, or where the
                                         model does not fit at all, the bundle's, and nothing is unknown
    a frame that another patch scored    that patch's, or the bundle's: the record is of what runs

Unknown is only said when the model has adapted (`settled`) and the knots have. Frames that are scored again
do not go into the record: they were chosen for being strange.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from edgeadapt.tensors import FloatArray
from edgeadapt_device.core.adapt.adaptation import Adaptation
from edgeadapt_device.core.flagging.decider import Decider, Lists
from edgeadapt_device.core.flagging.domain_knots import DomainKnots
from edgeadapt_device.core.flagging.settled import Settled


class Basis(NamedTuple):
    """The knots of each scorer; whether model and knots have adapted; whether the frame is to be recorded."""

    knots: Lists
    adapted: bool
    record: bool = False


class Bases:
    """Finds the basis of every frame of one device.

    Attributes:
        settled: whether the model has adapted.
    """

    def __init__(
        self,
        decider: Decider,
        adaptation: Adaptation,
        settled: Settled,
        alpha: float,
        rng: np.random.Generator,
    ) -> None:
        self._decider, self._adaptation, self.settled = decider, adaptation, settled
        self._domain = DomainKnots(decider.base.knots, alpha, rng)
        self._of = (-1, "")
        self._own: Lists | None = None

    def find(self, token: int, *, embedded: bool = True) -> Basis:
        """The basis of a frame that a generation scored; `embedded`: it gave an embedding."""
        adapted = self.settled.adapted(token)
        switching = self._adaptation.switching
        patch = switching.generations.patch_of(token) or ""
        thresholds = self._thresholds(patch)
        # The source's domain comes first: it is where most frames are, and asking is cheap.
        if (
            not self.settled.drifted
            or thresholds
            or patch != switching.running.digest
            or self._adaptation.routes.is_elsewhere(token)
            or not self._decider.can_score(embedded)
        ):
            return Basis(self._decider.knots(patch, thresholds), adapted)
        self._begin(patch)
        own = self._own
        return Basis(self._decider.base, False, adapted) if own is None else Basis(own, adapted, adapted)

    def observe(self, scores: tuple[float, ...]) -> None:
        """Record the scores of a frame whose basis says so."""
        if self._domain.observe(scores):
            knots = self._domain.knots
            self._own = self._decider.own(knots, self._domain.frames) if knots is not None else None

    def _begin(self, patch: str) -> None:
        """Begin a record, unless it is of this segment and patch already."""
        present = (self._adaptation.tracker.segment, patch)
        if self._of != present:
            self._of, self._own = present, None
            self._domain.restart()

    def _thresholds(self, patch: str) -> Mapping[str, FloatArray]:
        if not patch:
            return {}
        running = self._adaptation.switching.running.entry
        entry = running if running is not None and running.patch.digest == patch else None
        entry = entry or self._adaptation.patches.bank.by_digest(patch)
        return entry.patch.thresholds if entry is not None else {}
