"""What every strategy gets and gives.

A strategy teaches the student in place and returns slot values; it never decides whether they are
published. It learns from `Lesson.images` and replay only; the unseen uploads belong to the gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from edgeadapt.registry import Registry
from edgeadapt.tensors import FloatArray
from edgeadapt_cloud.adapt.settings import AdaptSettings
from edgeadapt_cloud.adapt.source import LabelledSource
from edgeadapt_cloud.adapt.statistics import DeviceStatistics
from edgeadapt_cloud.adapt.student import Student
from edgeadapt_cloud.adapt.teacher import Teacher


@dataclass(frozen=True, slots=True)
class Lesson:
    """One cohort's material.

    Attributes:
        student: at the base bundle's values, with the statistics its devices would settle at.
        serving: slot values that the cohort runs now; empty for the base bundle.
        images: uploads float32 [N, C, H, W], oldest first, N >= 2.
        sample_ids: their N names.
        labels: the teacher's soft labels float32 [N, K].
        statistics: predicts device statistics under new affine values.
        source: labelled replay, and the holdout.
        base_accuracy: of the base bundle on the holdout, by `Student.accuracy`.
        teacher: for strategies that need more than its labels.
        state: what this strategy handed back from the cohort's last finished job; b"" at first.
        settings: every strategy finds its own part in here.
        generator: the only source of randomness.
    """

    student: Student
    serving: Mapping[str, FloatArray]
    images: Tensor
    sample_ids: tuple[str, ...]
    labels: Tensor
    statistics: DeviceStatistics
    source: LabelledSource
    base_accuracy: float
    teacher: Teacher
    state: bytes
    settings: AdaptSettings
    generator: torch.Generator


@dataclass(frozen=True, slots=True)
class Taught:
    """What a strategy proposes: slot values, its state for the next job, and a line for people.

    `thresholds` are the adapter's: no strategy makes any.
    """

    values: Mapping[str, FloatArray]
    state: bytes
    note: str
    thresholds: Mapping[str, FloatArray] = field(default_factory=dict)


class Strategy(Protocol):
    """One way to make a patch from samples."""

    def __call__(self, lesson: Lesson) -> Taught:
        """Teach; raises nothing on bad material, the gate judges what comes out."""
        ...


STRATEGIES: Registry[Strategy] = Registry("strategy")
