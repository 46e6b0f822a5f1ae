"""The teacher: its statistics follow a cohort, its weights do not."""

from __future__ import annotations

import torch

from edgeadapt_cloud.adapt.settings import TeacherSettings
from edgeadapt_cloud.adapt.teacher import Teacher
from edgeadapt_cloud.adapt.views import as_tensor, mirrored
from edgeadapt_models.compile import tiny_images, tiny_module
from tests.cloud.adapt.conftest import Ranks, veiled


def test_settling_raises_accuracy_on_a_shifted_domain() -> None:
    images, labels = tiny_images(300, seed=4)
    shifted = as_tensor(veiled(images))
    teacher = Teacher(tiny_module(), TeacherSettings(views=1))
    before = teacher.probabilities(shifted).argmax(dim=1)
    teacher.settle(shifted)
    after = teacher.probabilities(shifted).argmax(dim=1)
    truth = torch.from_numpy(labels)
    assert (after == truth).float().mean() > (before == truth).float().mean() + 0.2


def test_settling_starts_at_the_source_each_time() -> None:
    images = as_tensor(tiny_images(100, seed=4)[0])
    teacher = Teacher(tiny_module(), TeacherSettings(views=1))
    teacher.settle(images)
    expected = teacher.probabilities(images)
    teacher.settle(images * 0.3)
    teacher.settle(images)
    torch.testing.assert_close(teacher.probabilities(images), expected)
    teacher.settle(images[:1])
    source = Teacher(tiny_module(), TeacherSettings(views=1)).probabilities(images)
    torch.testing.assert_close(teacher.probabilities(images), source)


def test_few_images_move_the_statistics_little() -> None:
    images = as_tensor(veiled(tiny_images(200, seed=4)[0]))
    near = Teacher(tiny_module(), TeacherSettings(views=1, prior_images=1e6))
    near.settle(images)
    source = Teacher(tiny_module(), TeacherSettings(views=1))
    torch.testing.assert_close(near.probabilities(images), source.probabilities(images), atol=1e-2, rtol=1e-2)


def test_every_batch_norm_of_the_teacher_settles() -> None:
    images = as_tensor(veiled(tiny_images(100)[0]))
    near, far = (Teacher(Ranks(), TeacherSettings(views=1, prior_images=prior)) for prior in (1e6, 0.0))
    near.settle(images)
    far.settle(images)
    for norm in ("plain", "flat", "tied"):
        kept, moved = (teacher._network.get_buffer(f"{norm}.running_var") for teacher in (near, far))
        torch.testing.assert_close(kept, Ranks().get_buffer(f"{norm}.running_var"), atol=1e-6, rtol=1e-3)
        assert float((moved / kept - 1).abs().max()) > 0.2


def test_two_views_are_averaged() -> None:
    images = as_tensor(tiny_images(20)[0])
    one = Teacher(tiny_module(), TeacherSettings(views=1))
    two = Teacher(tiny_module(), TeacherSettings(views=2))
    mean = (one.probabilities(images) + one.probabilities(mirrored(images))) / 2
    torch.testing.assert_close(two.probabilities(images), mean)
