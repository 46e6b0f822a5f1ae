"""How right the devices of a cohort are, from their audit samples: without bias, and with an interval.

Audit samples are drawn with a known chance p_i whatever they show (Poisson sampling), so that each stands
for 1 / p_i frames. The estimate is the ratio of weighted sums (Hajek, 1971), which is steadier than that of
Horvitz and Thompson when the number of frames varies. Its interval is Wilson's (1927) on the effective
number of samples, so that a few that are all right do not look certain: the smaller of (sum w)^2 / sum w^2
(Kish) and v (1 - v) / sum w^2 (y - v)^2 x (sum w)^2 (linearised). What is right is for the caller to say: a
person's label, or agreement with the teacher.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Two-sided 95 % of a normal distribution.
_Z = 1.959964


@dataclass(frozen=True, slots=True)
class AuditEstimate:
    """A share (0 to 1) of the frames that the audit covers.

    Attributes:
        value: the estimate; 0.5 without samples.
        low: lower end of the 95 % interval.
        high: upper end.
        samples: behind it.
        effective: as many equally weighted samples would say as much.
    """

    value: float
    low: float
    high: float
    samples: int
    effective: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f}) on {self.samples} audit samples"


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
