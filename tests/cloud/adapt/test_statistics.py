"""Device statistics under new affine values, from biased uploads."""

from __future__ import annotations

import numpy as np
import torch

from edgeadapt_cloud.adapt.statistics import DeviceStatistics, best_match
from edgeadapt_cloud.adapt.student import Statistics, Student
from edgeadapt_cloud.adapt.views import as_tensor
from edgeadapt_models.compile import tiny_images
from tests.cloud.adapt.conftest import veiled


def changed(student: Student) -> dict[str, np.ndarray]:
    values = student.values()
    return {
        "norm1.weight": values["norm1.weight"] * np.float32(1.3),
        "norm1.bias": values["norm1.bias"] + np.float32(0.2),
    }


def test_reported_statistics_come_back_under_the_same_values(student: Student) -> None:
    images = as_tensor(veiled(tiny_images(120, seed=5)[0]))
    reported = student.settle(images)
    statistics = DeviceStatistics(student, images[:50], reported.mean.numpy(), reported.var.numpy())
    again = statistics.settle(student)
    torch.testing.assert_close(again.mean, reported.mean, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(again.var, reported.var, rtol=1e-3, atol=1e-3)


def test_moments_of_the_signatures_copy_are_left_out(student: Student) -> None:
    """A bundle with a prompt reports them behind those of the layers."""
    images = as_tensor(veiled(tiny_images(60, seed=5)[0]))
    reported = student.settle(images)
    mean, var = reported.mean.numpy(), reported.var.numpy()
    copy = np.full(8, 1e6, np.float32)
    plain = DeviceStatistics(student, images[:50], mean, var)
    longer = DeviceStatistics(student, images[:50], np.concatenate([mean, copy]), np.concatenate([var, copy]))
    assert longer.mismatch == plain.mismatch
    torch.testing.assert_close(longer.settle(student).mean, plain.settle(student).mean)


def test_carried_over_statistics_beat_those_of_biased_uploads(student: Student) -> None:
    images, _ = tiny_images(600, seed=6)
    frames = as_tensor(veiled(images))
    bright = frames[frames.mean(dim=(1, 2, 3)).argsort()[-80:]]  # a biased choice
    student.load({})
    reported = student.settle(frames)
    statistics = DeviceStatistics(student, bright, reported.mean.numpy(), reported.var.numpy())
    student.load({})
    new = changed(student)
    student.load(new)
    truth = student.settle(frames)
    biased = student.settle(bright)
    predicted = statistics.settle(student)

    def error(guess: Statistics) -> float:
        return float(((guess.mean - truth.mean) / truth.var.sqrt()).square().mean().sqrt())

    assert error(predicted) < 0.5 * error(biased)


def test_statistics_of_another_generation_are_limited(student: Student) -> None:
    images = as_tensor(tiny_images(60)[0])
    here = student.settle(images)
    absurd = DeviceStatistics(
        student, images, here.mean.numpy() + np.float32(1e6), here.var.numpy() * np.float32(1e6)
    )
    there = absurd.settle(student)
    assert bool(((there.mean - here.mean).abs() <= 0.5 * here.var.sqrt() + 1e-4).all())
    assert bool((there.var <= 4.0 * here.var + 1e-4).all())


def test_reports_are_matched_to_the_values_they_belong_to(student: Student) -> None:
    images = as_tensor(veiled(tiny_images(200, seed=5)[0]))
    new = changed(student)
    for belongs_to in ({}, new):
        student.load(belongs_to)
        reported = student.settle(images)
        mean, var = reported.mean.numpy(), reported.var.numpy()
        statistics = best_match(student, (new, {}), images[:80], mean, var)
        student.load(belongs_to)
        again = statistics.settle(student)
        torch.testing.assert_close(again.mean, reported.mean, rtol=1e-3, atol=1e-3)
