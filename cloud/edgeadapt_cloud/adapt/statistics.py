"""Where a device's own statistics go when its affine values change.

A device re-estimates its statistics from all its frames; the cloud only has some uploads, and those
were chosen for their entropy. So the uploads are used for differences alone: the device's reported
moments, which belong to the values it runs now, are carried over by the change that the same uploads
show between the two sets of values (a control variate). The first norm layer lies before every slot
that is taught here and keeps the device's moments exactly. Not here: estimating moments on a device
(`edgeadapt.normstats`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from edgeadapt.tensors import FloatArray
from edgeadapt_cloud.adapt.student import Statistics, Student

MAX_SHIFT_SD = 0.5
"""Largest difference of means, in standard deviations, that is taken for selection bias."""
MAX_VAR_RATIO = 4.0
"""Likewise for the ratio of variances."""


class DeviceStatistics:
    """Predicts the statistics that the cohort's devices settle at under any affine values."""

    def __init__(self, student: Student, images: Tensor, mean: FloatArray, var: FloatArray) -> None:
        """Compare the devices' moments with those of the uploads.

        Args:
            student: holds the values that the devices run now; its statistics are overwritten.
            images: uploads float32 [N, C, H, W]; with fewer than 2 nothing can be predicted.
            mean: [P] the devices' means; behind the layers' may be those of the signature's copy, left out.
            var: [P] the devices' variances.
        """
        self._images = images
        here = student.settle(images)
        own = slice(len(here.mean))
        self.reported = Statistics(torch.from_numpy(mean[own].copy()), torch.from_numpy(var[own].copy()))
        shift = (self.reported.mean - here.mean) / here.var.clamp_min(1e-8).sqrt()
        self._shift = shift.clamp(-MAX_SHIFT_SD, MAX_SHIFT_SD)
        self.mismatch = float(shift.square().mean())  # mean square, in variances: how badly they fit
        ratio = self.reported.var / here.var.clamp_min(1e-8)
        self._ratio = ratio.clamp(1.0 / MAX_VAR_RATIO, MAX_VAR_RATIO)

    def settle(self, student: Student) -> Statistics:
        """Give the student the statistics that devices reach under its present affine values."""
        here = student.settle(self._images)
        there = Statistics(here.mean + self._shift * here.var.clamp_min(0.0).sqrt(), here.var * self._ratio)
        student.set_statistics(there)
        return there


def best_match(
    student: Student,
    generations: Iterable[Mapping[str, FloatArray]],
    images: Tensor,
    mean: FloatArray,
    var: FloatArray,
) -> DeviceStatistics:
    """The statistics under whichever slot values the reports fit best.

    While a patch is rolling out a cohort's newest reports may belong to the values before it.
    """

    def under(values: Mapping[str, FloatArray]) -> DeviceStatistics:
        student.load(values)
        return DeviceStatistics(student, images, mean, var)

    return min((under(values) for values in generations), key=lambda statistics: statistics.mismatch)
