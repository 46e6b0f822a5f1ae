"""From points to the study's figures: curves over domains and seeds, differences, and the claims.

Policies meet the same streams with the same budgets, so they are compared pair by pair: a difference is a
mean over (domain, seed), with its standard error and the interval of Student's t over the pairs. Not here:
drawing and files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from scipy import stats

from edgeadapt_sim.bench.uplink.plan import OURS
from edgeadapt_sim.bench.uplink.study import Point, Reference

CLAIMED = (0.02, 0.05)
"""Shares of the stream at which ours is meant to be at or above every other policy."""
CONFIDENCE = 0.95
"""Of the intervals. An interval that holds 0 is told as a difference that may be chance."""


class Curve(msgspec.Struct, frozen=True):
    """One policy under one budget, over all domains and seeds; accuracies and shares 0 to 1.

    `spread` is the standard deviation, over seeds, of the mean over domains.
    """

    policy: str
    share: float
    sent_bytes: float
    uploads: float
    candidate: float
    spread: float
    let_out: float
    published: float
    reestimated: float
    unknown: float
    unknown_taught: float
    classes: float
    lanes: dict[str, float]


class Gap(msgspec.Struct, frozen=True):
    """Ours less another policy at one share, paired over (domain, seed), 0 to 1.

    `error` is the standard error; `low` and `high` bound the mean with `CONFIDENCE`, pairs taken as
    independent; one pair alone has neither error nor interval.
    """

    policy: str
    share: float
    measure: str
    difference: float
    error: float
    low: float
    high: float
    cases: int

    @property
    def certain(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.cases > 1 and not self.low <= 0.0 <= self.high

    def __str__(self) -> str:
        """In points of accuracy, with the interval where there is one."""
        bounds = f" ({100 * self.low:+.1f} to {100 * self.high:+.1f})" if self.cases > 1 else ""
        return f"{100 * self.difference:+.1f}{bounds}"


class Claim(msgspec.Struct, frozen=True):
    """A sentence, whether it holds (None: nothing could have broken it), and its figures."""

    text: str
    holds: bool | None
    figures: str


_Measure = Callable[[Point], float]
MEASURES: dict[str, _Measure] = {
    "candidate": lambda point: point.candidate,
    "let out": lambda point: point.let_out,
    "re-estimated": lambda point: point.reestimated,
}


def curves(points: Sequence[Point]) -> tuple[Curve, ...]:
    """Every policy at every share, in the order of the points."""
    keys = dict.fromkeys((point.policy, point.share) for point in points)
    return tuple(_curve([point for point in points if (point.policy, point.share) == key]) for key in keys)


def gaps(points: Sequence[Point]) -> tuple[Gap, ...]:
    """Ours against every other policy, at every share, by every measure."""
    others = [name for name in dict.fromkeys(point.policy for point in points) if name != OURS]
    shares = list(dict.fromkeys(point.share for point in points))
    found = [
        _gap(points, other, share, measure) for measure in MEASURES for share in shares for other in others
    ]
    return tuple(gap for gap in found if gap is not None)


def claims(points: Sequence[Point], references: Sequence[Reference]) -> tuple[Claim, ...]:
    """What the figures say."""
    found = [
        _at_or_above(
            [gap for gap in gaps(points) if gap.measure == "candidate" and gap.share == share], share
        )
        for share in CLAIMED
    ]
    return (*found, _no_harm(points, references), _fewer_unknown(points))


def _at_or_above(found: Sequence[Gap], share: float) -> Claim:
    text = f"ours is at or above every other policy at {100 * share:g} % of the stream, on the mean"
    if not found:
        return Claim(text, None, "not measured")
    words = "; ".join(
        f"{gap} points against {gap.policy}{'' if gap.certain else ', may be chance'}"
        for gap in sorted(found, key=lambda gap: gap.difference)
    )
    return Claim(text, all(gap.difference >= 0.0 for gap in found), f"{words}; pairs: {found[0].cases}")


def _no_harm(points: Sequence[Point], references: Sequence[Reference]) -> Claim:
    """What the gate lets out is not below own statistics."""
    own = {(row.domain, row.seed): row.own for row in references}
    gains = {
        (point.domain, point.seed, point.share): point.let_out - own[point.domain, point.seed]
        for point in points
        if point.policy == OURS and point.published > 0.0 and (point.domain, point.seed) in own
    }
    text = "what the gate lets out of ours leaves no domain more than 1 point below own statistics"
    if not gains:
        return Claim(text, None, "the gate let nothing out")
    worst = min(gains, key=lambda key: gains[key])
    figures = f"{len(gains)} cases; the worst {100 * gains[worst]:+.1f} points ({worst[0]}, {worst[2]:.0%})"
    return Claim(text, gains[worst] >= -0.01, figures)


def _fewer_unknown(points: Sequence[Point]) -> Claim:
    """Of what ours teaches with, less is of no known class than of a uniform draw."""
    text = "the cloud learns from fewer frames of no known class with ours than with uniform uploads"
    shares = {
        name: [p.unknown_taught for p in points if p.policy == name and "unknown" in p.domain]
        for name in (OURS, "uniform")
    }
    if not all(shares.values()):
        return Claim(text, None, "no stream with unknown classes was measured")
    ours, uniform = (float(np.mean(shares[name])) for name in (OURS, "uniform"))
    return Claim(text, ours < uniform, f"{100 * ours:.1f} % against {100 * uniform:.1f} %")


def _gap(points: Sequence[Point], other: str, share: float, measure: str) -> Gap | None:
    value = MEASURES[measure]
    ours, theirs = (
        {(p.domain, p.seed): value(p) for p in points if p.policy == name and p.share == share}
        for name in (OURS, other)
    )
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        return None
    differences = np.array([ours[key] - theirs[key] for key in both])
    mean, count = float(differences.mean()), len(both)
    error = float(differences.std(ddof=1)) / math.sqrt(count) if count > 1 else 0.0
    reach = error * float(stats.t.ppf((1.0 + CONFIDENCE) / 2.0, count - 1)) if count > 1 else 0.0
    return Gap(other, share, measure, mean, error, mean - reach, mean + reach, count)


def _curve(points: Sequence[Point]) -> Curve:
    def mean(value: _Measure) -> float:
        return float(np.mean([value(point) for point in points]))

    seeds = sorted({point.seed for point in points})
    by_seed = [float(np.mean([p.candidate for p in points if p.seed == seed])) for seed in seeds]
    mixed = [point for point in points if "unknown" in point.domain]
    names = sorted({name for point in points for name in point.lanes})
    return Curve(
        policy=points[0].policy,
        share=points[0].share,
        sent_bytes=mean(lambda point: point.sent_bytes),
        uploads=mean(lambda point: point.uploads),
        candidate=mean(lambda point: point.candidate),
        spread=float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else 0.0,
        let_out=mean(lambda point: point.let_out),
        published=mean(lambda point: point.published),
        reestimated=mean(lambda point: point.reestimated),
        unknown=float(np.mean([point.unknown for point in mixed])) if mixed else 0.0,
        unknown_taught=float(np.mean([point.unknown_taught for point in mixed])) if mixed else 0.0,
        classes=mean(lambda point: point.classes),
        lanes={name: float(np.mean([point.lanes.get(name, 0) for point in points])) for name in names},
    )
