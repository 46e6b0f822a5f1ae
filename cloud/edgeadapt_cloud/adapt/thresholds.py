"""The thresholds that belong to a patch: knots of the bundle's scorers, found under the patched student.

A patch moves what scorers look at, so a nominal 5 % of false alarms becomes 14 to 77 % under the base's
knots, and more still under knots of source images sent through the patch. What holds is frames of the
domain: the cohort's uploads, scored by the patched student with the devices' statistics in place.

Only frames that the teacher is sure about count: they are of known classes. Taken are, from the first of
these that has enough of them,

    audit, unseen     drawn at random, and nothing was taught on them
    audit             drawn at random
    all, unseen       the adapt lane stands for its windows; a little too strange on the whole
    all

`FEW_AUDIT` and `FEW` say how many are too few: n frames cannot give a p-value below 1 / (n + 1), and the rate
that alpha is held at has a standard deviation of sqrt(alpha (1 - alpha) / n): 2.7 points at 64. With fewer, a
patch goes without thresholds, and devices judge by the base's.

Not here: whether the patch is any good (`gate`), and how it travels (`edgeadapt.patch`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgeadapt.scoring import Outputs, conformal
from edgeadapt.scoring.suite import Suite
from edgeadapt.tensors import FloatArray
from edgeadapt_cloud.adapt.statistics import DeviceStatistics
from edgeadapt_cloud.adapt.student import Student, outputs

FEW_AUDIT = 64
FEW = 128
SURE = 0.7
"""Teacher's probability of its class from which on a frame counts as of a known one."""


@dataclass(frozen=True, slots=True)
class Found:
    """Knots [64] by scorer, and in words what they rest on, or why there are none."""

    knots: Mapping[str, FloatArray] = field(default_factory=dict)
    note: str = ""


def calibration_frames(labels: Tensor, audit: Tensor, unseen: Tensor, asked: Tensor) -> tuple[Tensor, str]:
    """Which uploads to calibrate on: (mask [N], what they are in words); none where there are too few.

    Args:
        labels: the teacher's probabilities [N, K].
        audit: mask [N] of the audit lane.
        unseen: mask [N] of what no strategy sees.
        asked: mask [N] of the ask lane, which was chosen for being strange, and never counts.
    """
    known = (labels.max(dim=1).values >= SURE) & ~asked
    choices = (
        (known & audit & unseen, "unseen audit", FEW_AUDIT),
        (known & audit, "audit", FEW_AUDIT),
        (known & unseen, "unseen", FEW),
        (known, "uploaded", FEW),
    )
    for mask, name, least in choices:
        if int(mask.sum()) >= least:
            return mask, f"thresholds from {int(mask.sum())} {name} frames"
    count = int(known.sum())
    return torch.zeros_like(known), f"no thresholds: {count} frames of known classes are fewer than {FEW}"


def patch_thresholds(
    suite: Suite,
    student: Student,
    values: Mapping[str, FloatArray],
    statistics: DeviceStatistics,
    images: Tensor,
    note: str,
) -> Found:
    """Knots of the suite's scorers on frames [N, C, H, W] of known classes, as devices will score them.

    Scorers that a single frame's logits and embedding do not feed have none.
    """
    if not suite.names or not len(images):
        return Found({}, note if suite.names else "")
    student.load(values)
    statistics.settle(student)
    logits, embedding = outputs(student.network, images)
    scores = suite.score(Outputs(logits.numpy(), embedding.numpy()))
    columns = zip(suite.names, suite.needs, scores.T, strict=True)
    able = {name: column for name, needs, column in columns if not needs & {"style", "temperature"}}
    return Found({name: conformal.knots(column) for name, column in able.items()}, note)
