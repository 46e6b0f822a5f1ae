"""From what a model said about one frame to the frame's verdict.

The bundle's scorers, or those of them that the configuration names, give scores; the knots of the patch that
scored the frame, of the device's own domain, or of the bundle, turn each into a p-value; Cauchy combination
turns those into one. A patch's thresholds belong to it: what it moves is usual under it. A bundle without
scorers leaves the entropy.

Each frame is judged by itself, so plain numbers are used where arrays of one value would take ten times as
long. Not here: whether the model has adapted (`settled`), whose knots hold, and what is done with a verdict.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from edgeadapt.bundle.bundle import Bundle
from edgeadapt.errors import ConfigError
from edgeadapt.scoring import Outputs, entropy_bounds
from edgeadapt.scoring.base import STRANGEST
from edgeadapt.scoring.conformal import LEVELS, cauchy_one, p_value
from edgeadapt.scoring.suite import Suite
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import Verdict
from edgeadapt_device.config import FlaggingSection
from edgeadapt_device.core.flagging.decision import Decision, Thresholds, WindowVerdict

# What no single frame of a device has: moments of frames that were not probed, a head of its own.
_GIVEN = frozenset(("logits", "embedding", "head"))
_UNSURE = "the prediction is unsure"
_NOT_FINITE = "the outputs are not finite"
_NOT_YET = "the model, or its thresholds, have not adapted to this domain yet"
# Patches whose thresholds are kept ready.
_MOST_READY = 8


class Lists(NamedTuple):
    """The knots of each scorer, the score of each at which its p-value is the bound, and whose they are.

    `frames` of the domain were they made of here; 0 for those that came with the bundle or a patch.
    """

    knots: tuple[list[float], ...]
    bounds: tuple[float, ...]
    source: Thresholds = "bundle"
    frames: int = 0


class Decider:
    """Judges every frame of one device.

    Attributes:
        names: of the scorers that decide.
        base: the bundle's knots of each of them.
    """

    def __init__(self, bundle: Bundle, config: FlaggingSection) -> None:
        """With the scorers that the bundle brings; raises ConfigError when one is named that it has not."""
        self._low, self._high = entropy_bounds(
            len(bundle.manifest.classes), config.entropy_low, config.entropy_high
        )
        self._alpha = config.alpha
        suite = Suite.of(bundle.calibration)
        able = [name for name, needs in zip(suite.names, suite.needs, strict=True) if needs <= _GIVEN]
        for name in config.scorers:
            if name not in able:
                raise ConfigError(
                    f"flagging.scorers: the bundle has no scorer {name!r} for single frames; it has: "
                    f"{', '.join(able) or 'none'}. `edgeadapt model compile --scorer NAME` fits others"
                )
        self.names: tuple[str, ...] = tuple(n for n in able if not config.scorers or n in config.scorers)
        rows = [suite.names.index(name) for name in self.names]
        self._scorers = tuple(suite.scorers[row] for row in rows)
        self._embedded = any("embedding" in suite.needs[row] for row in rows)
        self.base = self._lists(tuple(suite.base.lists[row] for row in rows))
        self._ready: OrderedDict[str, Lists] = OrderedDict()

    def judge(
        self,
        logits: FloatArray,
        embedding: FloatArray | None,
        entropy: float,
        *,
        adapted: bool,
        knots: Lists,
        window: WindowVerdict | None = None,
    ) -> Decision:
        """The verdict about one frame.

        Args:
            logits: [K].
            embedding: [D]; None where an engine gives none, and then scorers that need it leave the entropy.
            entropy: of the prediction, in nats.
            adapted: model and thresholds have adapted to the domain.
            knots: of what scored the frame, as `knots` or `own` gives them.
            window: the last one, to go with the verdict.
        """
        if not _finite(logits) or not (self._embedded or embedding is None or _finite(embedding)):
            return Decision("unreliable", 0.0, reason=_NOT_FINITE, window=window)
        if not self.can_score(embedding is not None):
            if self._low < entropy < self._high:
                return Decision("informative", adapted=adapted, reason=_UNSURE, window=window)
            return Decision("familiar", adapted=adapted, window=window)
        outputs = Outputs(logits[None], embedding[None] if embedding is not None else None)
        scores = tuple([float(scorer.score(outputs)[0]) for scorer in self._scorers])
        # Scorers give rows that are not finite the strangest score: for all others the look is spared.
        if embedding is not None and min(scores) <= STRANGEST and not _finite(embedding):
            return Decision("unreliable", 0.0, reason=_NOT_FINITE, window=window)
        p_values = tuple(map(p_value, scores, knots.knots))
        p = cauchy_one(p_values)
        verdict, reason = self._verdict(p, entropy, adapted=adapted)
        return Decision(
            verdict,
            p,
            scores,
            p_values,
            knots.bounds,
            knots.source,
            knots.frames,
            adapted,
            reason,
            window,
        )

    def can_score(self, embedded: bool) -> bool:
        """True when a frame, with or without an embedding, is scored; else its entropy is all there is."""
        return bool(self._scorers) and (embedded or not self._embedded)

    def _verdict(self, p: float, entropy: float, *, adapted: bool) -> tuple[Verdict, str]:
        if p < self._alpha:
            known = "the model has adapted" if adapted else _NOT_YET
            reason = f"strange: of known frames {p:.2%} are as strange, fewer than {self._alpha:.2%}; {known}"
            return "unknown" if adapted else "shifted", reason
        return ("informative", f"known, but {_UNSURE}") if entropy > self._low else ("familiar", "")

    def knots(self, patch: str, thresholds: Mapping[str, FloatArray]) -> Lists:
        """The knots of each scorer under a patch (its digest; "" for the base), where it brings some.

        Those of a patch are made ready once.
        """
        if not patch or not thresholds:
            return self.base
        ready = self._ready.get(patch)
        if ready is None:
            own = (thresholds.get(name) for name in self.names)
            ready = self._lists(
                tuple(
                    base if found is None else found.tolist()
                    for found, base in zip(own, self.base.knots, strict=True)
                ),
                "patch",
            )
            self._ready[patch] = ready
            if len(self._ready) > _MOST_READY:
                self._ready.popitem(last=False)
        return ready

    def own(self, knots: tuple[list[float], ...], frames: int) -> Lists:
        """Knots of each scorer that were made here, of so many frames of the domain."""
        return self._lists(knots, "domain", frames)

    def _lists(self, knots: tuple[list[float], ...], source: Thresholds = "bundle", frames: int = 0) -> Lists:
        bounds = tuple(float(np.interp(self._alpha, LEVELS, row)) for row in knots)
        return Lists(knots, bounds, source, frames)


def _finite(values: FloatArray) -> bool:
    # One operation: a sum of float32 in double precision is finite when, and only when, all are.
    return math.isfinite(np.add.reduce(values, dtype=np.float64))
