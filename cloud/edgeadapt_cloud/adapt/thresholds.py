"""The thresholds that belong to a patch: knots of the bundle's scorers, found under the patched student.

A patch moves what scorers look at, so a nominal 5 % of false alarms becomes 14 to 77 % under the base's
knots, and more still under knots of source images sent through the patch. What holds is frames of the
domain: the cohort's uploads, scored by the patched student with the devices' statistics in place.

Only frames that the teacher is sure about count: they are of known classes. Among them must be those that the
device took for strange: a twentieth and more of what is known is, and thresholds made of the rest alone call
as many of the rest strange again, with each patch more. The adapt lane sends none of them; the audit lane
draws them like all others. Taken are, from the first of these that has enough,

    audit, unseen     drawn at random, and nothing was taught on them
    all, unseen       the adapt lane stands for what devices took for known, the audit lane for the rest, each
                      by the share of it that the audit lane has seen (post-stratification)
    audit             drawn at random, and half of it taught, to which a student's scores are too familiar
    all               most of it taught

`FEW` says how many are too few (`FEW_TAUGHT` where most were taught): n frames cannot give a p-value below
1 / (n + 1), and the rate that alpha is held at has a standard deviation of sqrt(alpha (1 - alpha) / n): 2.7
points at 64. `FEW_SHARES` are the fewest audit frames that may say how large the shares are. With fewer, a
patch goes without thresholds, and devices judge by what they have.

Not here: whether the patch is any good (`gate`), and how it travels (`edgeadapt.patch`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgeadapt.scoring import Outputs, conformal
from edgeadapt.scoring.suite import Suite
from edgeadapt.tensors import FloatArray
from edgeadapt_cloud.adapt.statistics import DeviceStatistics
from edgeadapt_cloud.adapt.student import Student, outputs

FEW = 64
FEW_TAUGHT = 128
FEW_SHARES = 32
SURE = 0.7
"""Teacher's probability of its class from which on a frame counts as of a known one."""


@dataclass(frozen=True, slots=True)
class Found:
    """Knots [64] by scorer, and in words what they rest on, or why there are none."""

    knots: Mapping[str, FloatArray] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Frames:
    """What to calibrate on: weights float32 [N], 0 for what is left out, and in words what they are."""

    weights: Tensor
    note: str


def calibration_frames(labels: Tensor, audit: Tensor, unseen: Tensor, strange: Tensor) -> Frames:
    """Which uploads to calibrate on; none where there are too few.

    Args:
        labels: the teacher's probabilities [N, K].
        audit: mask [N] of what was drawn at random.
        unseen: mask [N] of what no strategy sees, of `audit` without regard to `strange`.
        strange: mask [N] of what the devices took for strange; lies within `audit`.
    """
    known = labels.max(dim=1).values >= SURE
    drawn, strangers = int((known & audit).sum()), int((known & strange).sum())
    choices = (
        (known & audit & unseen, "unseen audit", FEW),
        (known & (unseen | strange), "unseen", FEW),
        (known & audit, "audit", FEW),
        (known, "uploaded", FEW_TAUGHT),
    )
    for mask, name, least in choices:
        count, random = int(mask.sum()), "audit" in name
        if count < least or (drawn < FEW_SHARES and not random):
            continue
        if random:
            return Frames(mask.float(), f"thresholds from {count} {name} frames")
        share = strangers / drawn
        weights = _shared(mask & ~strange, 1.0 - share) + _shared(mask & strange, share)
        return Frames(weights, f"thresholds from {count} {name} frames, {strangers} of {drawn} drawn strange")
    few = f"{drawn} audit frames of known classes are fewer than {FEW_SHARES}"
    if drawn >= FEW_SHARES:
        few = f"{int(known.sum())} frames of known classes are fewer than {FEW_TAUGHT}"
    return Frames(torch.zeros(len(known)), f"no thresholds: {few}")


def _shared(mask: Tensor, share: float) -> Tensor:
    """Equal weights that sum to `share`."""
    return mask.float() * (share / max(int(mask.sum()), 1))


def patch_thresholds(
    suite: Suite,
    student: Student,
    values: Mapping[str, FloatArray],
    statistics: DeviceStatistics,
    images: Tensor,
    frames: Frames,
) -> Found:
    """Knots of the suite's scorers on images [N, C, H, W] of the frames that count, as devices score them.

    Scorers that a single frame's logits and embedding do not feed have none.
    """
    counted = frames.weights > 0
    if not suite.names or not bool(counted.any()):
        return Found({}, frames.note if suite.names else "")
    student.load(values)
    statistics.settle(student)
    logits, embedding = outputs(student.network, images[counted])
    weights = frames.weights[counted].numpy().astype(np.float64)
    scores = suite.score(Outputs(logits.numpy(), embedding.numpy()))
    columns = zip(suite.names, suite.needs, scores.T, strict=True)
    able = {name: column for name, needs, column in columns if not needs & {"style", "temperature"}}
    return Found(
        {name: conformal.knots(_even(column, weights)) for name, column in able.items()}, frames.note
    )


def _even(scores: FloatArray, weights: npt.NDArray[np.float64]) -> FloatArray:
    """Weighted scores as as many unweighted ones as say as much (Kish): quantiles at even steps."""
    if np.ptp(weights) == 0.0:
        return scores
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weights[order])
    count = int(weights.sum() ** 2 / np.square(weights).sum())
    steps = (np.arange(count) + 0.5) / count * reached[-1]
    return np.asarray(scores[order][np.searchsorted(reached, steps)], dtype=np.float32)
