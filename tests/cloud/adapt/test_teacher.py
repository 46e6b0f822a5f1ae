"""The teacher: its statistics follow a cohort, its weights do not; labels are remembered."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeadapt_cloud.adapt.settings import TeacherSettings
from edgeadapt_cloud.adapt.teacher import Teacher
from edgeadapt_cloud.adapt.views import as_tensor, mirrored
from edgeadapt_models.compile import tiny_images, tiny_module
from tests.cloud.adapt.conftest import veiled


class Counting(nn.Module):
    """Counts the images that it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown = 0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.shown += len(x)
        logits = x.mean(dim=(1, 2)).repeat(1, 1)[:, :10]
        return logits, logits


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


def test_two_views_are_averaged() -> None:
    images = as_tensor(tiny_images(20)[0])
    one = Teacher(tiny_module(), TeacherSettings(views=1))
    two = Teacher(tiny_module(), TeacherSettings(views=2))
    mean = (one.probabilities(images) + one.probabilities(mirrored(images))) / 2
    torch.testing.assert_close(two.probabilities(images), mean)


def test_a_sample_is_labelled_once_for_each_cohort() -> None:
    images = as_tensor(tiny_images(6)[0])
    teacher = Teacher(Counting(), TeacherSettings(views=1))
    network = teacher._network
    assert isinstance(network, Counting)
    first = teacher.label("a", list("uvwx"), images[:4])
    again = teacher.label("a", list("xwvuyz"), torch.cat([images[:4].flip(0), images[4:]]))
    assert network.shown == 6
    torch.testing.assert_close(again[:4].flip(0), first)
    teacher.label("b", ["u"], images[:1])
    assert network.shown == 7


def test_the_memory_of_labels_is_bounded() -> None:
    images = as_tensor(tiny_images(4)[0])
    teacher = Teacher(Counting(), TeacherSettings(views=1, cached_labels=2))
    network = teacher._network
    assert isinstance(network, Counting)
    teacher.label("a", list("uvwx"), images)
    teacher.label("a", ["x"], images[3:])
    assert network.shown == 4
    teacher.label("a", ["u"], images[:1])
    assert network.shown == 5
