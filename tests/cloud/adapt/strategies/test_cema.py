"""`cema`: its loss, its memory, and that its state continues where it stopped."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from edgeadapt.bundle import Bundle
from edgeadapt_cloud.adapt.renorm import BatchRenorm, renormalised
from edgeadapt_cloud.adapt.sampling import entropy
from edgeadapt_cloud.adapt.settings import CemaSettings
from edgeadapt_cloud.adapt.strategies.cema import Learner, capture, restore, student_loss
from edgeadapt_cloud.adapt.student import Student
from edgeadapt_cloud.adapt.views import as_tensor
from edgeadapt_cloud.core.jobs.job import JobResult
from edgeadapt_models.compile import tiny_images, tiny_module
from tests.cloud.adapt.conftest import SETTINGS as SETTINGS_OF_TESTS
from tests.cloud.adapt.conftest import Images, MakeAdapter, request_for

SETTINGS = CemaSettings()


def test_loss_by_hand() -> None:
    student, teacher = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 2.0, 0.0]])
    s, t = student.softmax(1)[0].double(), teacher.softmax(1)[0].double()
    entropy_s, entropy_t = float(-(s * s.log()).sum()), float(-(t * t.log()).sum())
    bound = 0.4 * math.log(3)
    expected = (
        3 * math.exp(bound - entropy_s) * entropy_s
        + 3 * math.exp(bound - entropy_t) * float((t * (t / s).log()).sum())
        + math.exp(bound - entropy_t) * -float(s[1].log())
    )
    assert float(student_loss(student, teacher, SETTINGS)) == pytest.approx(expected, rel=1e-5)


def test_renorm_forward_is_that_of_the_running_statistics() -> None:
    norm = nn.BatchNorm2d(3)
    layer = BatchRenorm(norm, momentum=0.0)
    first, second = torch.randn(8, 3, 4, 4) * 2 + 1, torch.randn(8, 3, 4, 4)
    layer(first)
    mean, var = first.mean((0, 2, 3)), first.var((0, 2, 3), unbiased=False)
    expected = (second - mean.view(1, -1, 1, 1)) / (var + norm.eps).sqrt().view(1, -1, 1, 1)
    torch.testing.assert_close(layer(second), expected, rtol=1e-4, atol=1e-4)


def test_renorm_normalises_vectors_and_starts_a_missing_scale_at_one() -> None:
    layer = BatchRenorm(nn.BatchNorm1d(3, affine=False), momentum=0.0)
    x = torch.randn(32, 3) * 2 + 1
    expected = (x - x.mean(0)) / (x.var(0, unbiased=False) + layer.epsilon).sqrt()
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-4)


def test_renorm_gradient_is_that_of_batch_statistics() -> None:
    """Through batch statistics a constant added to the input cannot change the output."""
    layer = BatchRenorm(nn.BatchNorm2d(2), momentum=0.1)
    layer(torch.randn(8, 2, 4, 4) * 3 + 2)
    x = torch.randn(8, 2, 4, 4, requires_grad=True)
    torch.autograd.backward((layer(x) ** 3).sum())
    assert x.grad is not None
    assert float(x.grad.sum((0, 2, 3)).abs().max()) < 1e-2
    assert float(x.grad.abs().max()) > 1e-2


def test_renorm_moves_with_gradient_only() -> None:
    layer = BatchRenorm(nn.BatchNorm2d(2), momentum=0.5)
    layer(torch.zeros(4, 2, 3, 3))
    with torch.no_grad():
        layer(torch.ones(4, 2, 3, 3))
    assert layer.running_mean.tolist() == [0.0, 0.0]
    layer(torch.ones(4, 2, 3, 3))
    assert layer.running_mean.tolist() == [0.5, 0.5]


def test_state_continues_where_it_stopped() -> None:
    images = as_tensor(tiny_images(64)[0])

    def learner() -> Learner:
        return Learner.of(tiny_module(), 0.01, SETTINGS)

    def step(student: Learner) -> None:
        student.step(student.network(images)[0].square().mean())

    one, teacher = learner(), learner()
    step(one)
    state = capture(one, teacher, ["a", "b"])
    step(one)
    two, other = learner(), learner()
    assert restore(state, two, other) == ["a", "b"]
    step(two)
    for ours, theirs in zip(
        one.network.state_dict().values(), two.network.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_state_of_another_network_starts_anew() -> None:
    small = Learner.of(nn.Sequential(nn.BatchNorm2d(3)), 0.01, SETTINGS)
    state = capture(small, small, ["a"])
    fresh = Learner.of(tiny_module(), 0.01, SETTINGS)
    before = {name: tensor.clone() for name, tensor in fresh.network.state_dict().items()}
    assert restore(state, fresh, fresh) == []
    torch.testing.assert_close(dict(fresh.network.state_dict()), before)


def test_only_new_uploads_are_stepped_through(
    make_adapter: MakeAdapter, bundle: Bundle, domain: tuple[Images, np.ndarray]
) -> None:
    adapter, images = make_adapter(min_unseen=1), domain[0][:400]
    first = adapter.run(request_for(bundle, images[:200], strategy="cema"), images[:200], ["adapt"] * 200)
    assert "150 new uploads, 5 steps" in first.note
    request = request_for(bundle, images[:200], strategy="cema", state=first.state)
    again = adapter.run(request, images[:200], ["adapt"] * 200)
    assert "0 new uploads, 0 steps" in again.note
    request = request_for(bundle, images, strategy="cema", state=first.state)
    more = adapter.run(request, images, ["adapt"] * 400)
    assert "150 new uploads, 5 steps" in more.note


def run_open(
    make_adapter: MakeAdapter, bundle: Bundle, images: Images, teacher: nn.Module | None = None, **cema: float
) -> JobResult:
    """A job with the gate open."""
    settings = msgspec.structs.replace(CemaSettings(student_learning_rate=1e-4), **cema)
    adapter = make_adapter(
        teacher,
        settings=msgspec.structs.replace(SETTINGS_OF_TESTS, cema=settings),
        max_source_loss=1.0,
        confidence_z=-9.0,
        min_agreement_gain=-9.0,
        min_teacher_margin=-9.0,
        max_teacher_class_share=1.0,
        min_class_spread=0.0,
    )
    result = adapter.run(request_for(bundle, images, strategy="cema"), images, ["adapt"] * len(images))
    assert result.verdict.passed, result.verdict.evidence
    return result


def test_the_teacher_grows_surer_of_the_uploads(
    make_adapter: MakeAdapter, bundle: Bundle, domain: tuple[Images, np.ndarray]
) -> None:
    result = run_open(make_adapter, bundle, domain[0], tiny_module(), teacher_learning_rate=1e-2)

    def mean_entropy(state: bytes) -> float:
        student, teacher = (Learner.of(tiny_module(), 0.01, SETTINGS) for _ in range(2))
        teacher.network(as_tensor(domain[0]))  # the first batch initialises the statistics
        restore(state, student, teacher)
        with torch.no_grad():
            return float(entropy(teacher.network(as_tensor(domain[0]))[0].softmax(dim=1)).mean())

    assert mean_entropy(result.state) < 0.9 * mean_entropy(b"")


def test_replayed_uploads_stand_beside_new_ones(
    make_adapter: MakeAdapter, bundle: Bundle, domain: tuple[Images, np.ndarray]
) -> None:
    """The world turns bright: with replay the statistics stay nearer to the dark that is remembered."""
    dark, bright = domain[0][:300] // 3, domain[0][300:600]
    images = np.concatenate([dark, bright])

    def mean(replay_batch: int) -> np.ndarray:
        result = run_open(
            make_adapter, bundle, images, replay_batch=replay_batch, memory_start=32, norm_momentum=0.3
        )
        return result.values["norm1.running_mean"]

    student = Student(tiny_module(), bundle.manifest, bundle.base_slots())
    darkness, brightness = (student.settle(as_tensor(part)).mean[:8].numpy() for part in (dark, bright))
    way = brightness - darkness
    without, beside = (float((mean(count) - darkness) @ way / (way @ way)) for count in (0, 96))
    assert without > 0.5
    assert beside < without - 0.1


def test_replay_alone_goes_on_teaching(
    make_adapter: MakeAdapter, bundle: Bundle, domain: tuple[Images, np.ndarray]
) -> None:
    without = run_open(make_adapter, bundle, domain[0])
    more = run_open(make_adapter, bundle, domain[0], replay_steps=3)
    assert "450 new uploads, 15 steps" in without.note
    assert "450 new uploads, 18 steps" in more.note
    assert not np.allclose(without.values["norm2.bias"], more.values["norm2.bias"], rtol=0, atol=1e-6)


def test_renormalised_leaves_the_original_alone() -> None:
    network = tiny_module()
    copy = renormalised(network, momentum=0.1)
    assert isinstance(network.norm1, nn.BatchNorm2d)
    assert isinstance(copy.get_submodule("norm1"), BatchRenorm)
    copy(as_tensor(tiny_images(8)[0]))
    with torch.no_grad():
        assert network(as_tensor(tiny_images(8)[0]))[0].isfinite().all()
