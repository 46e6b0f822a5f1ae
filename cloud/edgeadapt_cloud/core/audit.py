"""How right the devices of a cohort are, from their audit samples: without bias, and with an interval.

Audit samples are drawn with a known chance p_i whatever they show (Poisson sampling), so that each stands
for 1 / p_i frames. The estimate is the ratio of weighted sums (Hajek, 1971), which is steadier than that of
Horvitz and Thompson when the number of frames varies. Its interval is Wilson's (1927) on the effective
number of samples, so that a few that are all right do not look certain: the smaller of (sum w)^2 / sum w^2
(Kish) and v (1 - v) / sum w^2 (y - v)^2 x (sum w)^2 (linearised). What is right is for the caller to say: a
person's label, or agreement with the teacher.

`audited` makes two figures of each generation that the devices ran: how many frames were strange to a model
that had adapted, and how many of the others got the teacher's class. What is strange counts as neither right
nor wrong, for the teacher's class of an unknown thing means nothing. Both speak for the frames from which the
audit lane draws, and the second is as good as the teacher: it is agreement, not accuracy.

A draw without a picture has no class of the teacher's, and pictures are not missing at random: busy frames
are dear. So the interval of what is right has room for all that the teacher might have said of those
(worst-case bounds; Manski, 1989): its lower end is that of a share in which they are all wrong, its upper end
that of one in which they are all right. The estimate itself is of the draws with a picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgeadapt_cloud.core.fleet.pool import NO_PICTURE
from edgeadapt_cloud.core.jobs.job import AuditDraw, AuditEstimate, AuditFigures

# Two-sided 95 % of a normal distribution.
_Z = 1.959964


# Generations that are told apart: the newest.
_MOST_GENERATIONS = 4


def audited(draws: Sequence[AuditDraw], classes: Mapping[str, int]) -> tuple[AuditFigures, ...]:
    """Figures of the newest generations, the one that was drawn from last at the end.

    Args:
        draws: in order of arrival.
        classes: the teacher's, by the digest of the data. What has none though it has a picture is older than
            what the job looked at, or could not be read: it counts in `strange` alone.
    """
    by_generation: dict[str, list[AuditDraw]] = {}
    for draw in draws:
        drawn = by_generation.pop(draw.generation, [])
        drawn.append(draw)
        by_generation[draw.generation] = drawn
    newest = list(by_generation.items())[-_MOST_GENERATIONS:]
    return tuple(_figures(generation, drawn, classes) for generation, drawn in newest)


def _figures(generation: str, drawn: Sequence[AuditDraw], classes: Mapping[str, int]) -> AuditFigures:
    # Those without a picture count from where those with one do.
    known = [draw for draw in drawn if draw.recent and not draw.strange]
    labelled = [draw for draw in known if draw.sha256 in classes]
    blind = [draw.chance for draw in known if draw.sha256 == NO_PICTURE]
    right = _bounded(
        [draw.predicted == classes[draw.sha256] for draw in labelled],
        [draw.chance for draw in labelled],
        blind,
    )
    strange = estimate([draw.strange for draw in drawn], [draw.chance for draw in drawn])
    return AuditFigures(generation, right, strange, sum(0.0 < chance <= 1.0 for chance in blind))


def _bounded(right: list[bool], chances: list[float], blind: list[float]) -> AuditEstimate:
    """The share that is right, with room in its interval for others that were drawn with chances `blind`."""
    found = estimate(right, chances)
    if not found.samples:
        return found
    low, high = (estimate(right + [said] * len(blind), chances + blind) for said in (False, True))
    return replace(found, low=min(low.low, found.low), high=max(high.high, found.high))


def estimate(right: Sequence[bool], chances: Sequence[float]) -> AuditEstimate:
    """The share of frames that are right.

    Args:
        right: of N audit samples.
        chances: [N] with which each was drawn; samples with a chance outside (0, 1] say nothing and are left
            out, as are those of devices that do not tell it.

    Raises:
        ValueError: the two are not of one length.
    """
    pairs = [(r, 1.0 / c) for r, c in zip(right, chances, strict=True) if 0.0 < c <= 1.0]
    total = sum(weight for _, weight in pairs)
    if total <= 0.0:
        return AuditEstimate(0.5, 0.0, 1.0, 0, 0.0)
    value = sum(weight for r, weight in pairs if r) / total
    effective = total**2 / sum(weight**2 for _, weight in pairs)
    spread_out = sum((weight * (float(r) - value)) ** 2 for r, weight in pairs)
    if spread_out > 0.0:
        effective = min(effective, value * (1.0 - value) * total**2 / spread_out)
    shrink = 1.0 + _Z**2 / effective
    centre = (value + _Z**2 / (2.0 * effective)) / shrink
    spread = _Z / shrink * math.sqrt(value * (1.0 - value) / effective + _Z**2 / (4.0 * effective**2))
    return AuditEstimate(value, max(centre - spread, 0.0), min(centre + spread, 1.0), len(pairs), effective)
