"""The student: slots by name, statistics as a device settles at them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from edgeadapt.bundle import Bundle, Slot
from edgeadapt.errors import ConfigError
from edgeadapt.normstats import NormEstimator, StatisticsConfig
from edgeadapt.tensors import FloatArray
from edgeadapt_cloud.adapt.student import BATCH, Statistics, Student, batch_statistics
from edgeadapt_cloud.adapt.views import as_tensor
from edgeadapt_models.compile import tiny_images, tiny_module
from tests.cloud.adapt.conftest import Images, Ranks, norm_slots
from tests.models.compile import modules


def test_values_round_trip(student: Student, bundle: Bundle) -> None:
    base = student.values()
    assert set(base) == set(norm_slots(bundle))
    changed = {name: value + np.float32(0.25) for name, value in base.items()}
    student.load(changed)
    for name, value in student.values().items():
        np.testing.assert_allclose(value, changed[name])
    student.load({"norm1.weight": changed["norm1.weight"]})
    np.testing.assert_allclose(student.values()["norm1.weight"], changed["norm1.weight"])
    np.testing.assert_allclose(student.values()["norm2.weight"], base["norm2.weight"], rtol=1e-6)


def test_foreign_weights_are_refused(bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match=r"its layer 'norm1' has other values\. Only networks of the zoo"):
        Student(tiny_module(seed=9), bundle.manifest, bundle.base_slots())


@pytest.mark.parametrize("part", ["weight", "bias"])
def test_a_network_whose_head_was_trained_further_is_refused(bundle: Bundle, part: str) -> None:
    network = tiny_module()
    with torch.no_grad():
        getattr(network.head, part).mul_(1.05)
    with pytest.raises(ConfigError, match=rf"its head 'head\.{part}' has other values"):
        Student(network, bundle.manifest, bundle.base_slots())


def test_foreign_network_is_refused(bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match=r"student has no 'norm1\.\w+'.*adapts by itself, without a cloud"):
        Student(torch.nn.Linear(2, 2), bundle.manifest, bundle.base_slots())


def test_further_slots_stay_at_the_base_and_in_no_patch(bundle: Bundle) -> None:
    """A prompt is no tensor of the torch network; the head is one, and is not taught."""
    further = (
        Slot("head.weight", "head_weight", "head", (10, 12), -9.0, 9.0),
        Slot("input_prompt", "input_prompt", "input", (1, 28, 28), -1.0, 1.0),
    )
    manifest = msgspec.structs.replace(bundle.manifest, slots=(*further, *bundle.manifest.slots))
    base = {slot.name: np.zeros(slot.shape, np.float32) for slot in further}
    student = Student(tiny_module(), manifest, {**base, **bundle.base_slots()})
    assert set(student.values()) == set(norm_slots(bundle))
    head = tiny_module().head.weight
    student.load({name: value + np.float32(0.1) for name, value in student.values().items()})
    torch.testing.assert_close(student.network.get_parameter("head.weight"), head)
    with pytest.raises(ConfigError, match="input_prompt"):
        student.load({"input_prompt": base["input_prompt"]})


def test_only_affine_parameters_learn(student: Student) -> None:
    learning = {name for name, p in student.network.named_parameters() if p.requires_grad}
    assert learning == {"norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"}


def test_settling_is_the_fixed_point_of_a_devices_running_averages(
    student: Student, domain: tuple[Images, np.ndarray]
) -> None:
    images = as_tensor(domain[0][:200])
    start = student.statistics()
    config = StatisticsConfig(window_frames=400, diversity_guard=False)
    estimator = NormEstimator(start.mean.numpy(), start.var.numpy(), config, 10)
    labels = np.arange(len(images)) % 10
    for _ in range(60):
        estimator.update(*_moments(student, images), labels)
        student.set_statistics(Statistics(torch.from_numpy(estimator.mean), torch.from_numpy(estimator.var)))
    student.load({})
    settled = student.settle(images)
    np.testing.assert_allclose(settled.mean.numpy(), estimator.mean, rtol=0.02, atol=0.02)
    np.testing.assert_allclose(settled.var.numpy(), estimator.var, rtol=0.03, atol=0.01)


def test_batch_statistics_leave_the_running_ones_alone(student: Student) -> None:
    images = as_tensor(tiny_images(32)[0])
    before = student.values()
    with batch_statistics(student.network):
        student.network(images)
    for name, value in student.values().items():
        np.testing.assert_array_equal(value, before[name])
    assert not student.network.training


def test_layer_norm_student_keeps_no_statistics(layer_bundle: Bundle) -> None:
    student = Student(tiny_module(norm="layer"), layer_bundle.manifest, layer_bundle.base_slots())
    before = student.values()
    statistics = student.settle(as_tensor(tiny_images(32)[0]))
    assert statistics.mean.shape == (layer_bundle.manifest.probe_channels,)
    assert all(np.array_equal(value, before[name]) for name, value in student.values().items())


def test_every_batch_norm_settles_whatever_the_rank_of_its_input(ranks_bundle: Bundle) -> None:
    student = Student(Ranks(), ranks_bundle.manifest, ranks_bundle.base_slots())
    images = as_tensor(tiny_images(64)[0])
    inputs: list[torch.Tensor] = []
    student.network.get_submodule("flat").register_forward_pre_hook(lambda _, x: inputs.append(x[0].detach()))
    settled = student.settle(images)
    torch.testing.assert_close(settled.mean[8:16], inputs[-1].mean(dim=0))
    torch.testing.assert_close(settled.var[8:16], inputs[-1].var(dim=0))
    with torch.no_grad():
        own = student.probabilities(images)
        torch.testing.assert_close(student.settled_probabilities(images), own, atol=0.02, rtol=0.05)


def test_absent_and_shared_affine_parameters_become_the_layers_own(ranks_bundle: Bundle) -> None:
    student = Student(Ranks(), ranks_bundle.manifest, ranks_bundle.base_slots())
    base = student.values()
    assert len(base) == 12
    # Near 1, not 1: the bundle's statistics are those of its source data, with a scale to match.
    np.testing.assert_allclose(base["plain.weight"], 1.0, rtol=1e-3)
    student.load({"tied.weight": np.full(8, 2.0, dtype=np.float32)})
    np.testing.assert_array_equal(student.values()["flat.weight"], base["flat.weight"])
    images = as_tensor(tiny_images(8)[0])
    before = student.probabilities(images)
    student.load({"plain.bias": np.full(8, 0.5, dtype=np.float32)})
    assert not torch.allclose(student.probabilities(images), before, atol=1e-3)


@pytest.mark.parametrize(("kind", "norm"), [(modules.Grouped, "group"), (modules.Instanced, "instance")])
def test_group_and_instance_norms_learn_too(kind: type[modules.Twins], norm: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = kind().eval()
    bundle = modules.compile_small(network, tmp_path / "bundle")
    assert [layer.kind for layer in bundle.manifest.norm_layers] == ["batch", norm, "batch"]
    student = Student(network, bundle.manifest, bundle.base_slots())
    learning = {name for name, p in student.network.named_parameters() if p.requires_grad}
    assert {"mix.1.weight", "mix.1.bias"} <= learning
    before = student.probabilities(torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0)))
    student.load({"mix.1.bias": np.full(4, 0.5, np.float32)})
    after = student.probabilities(torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0)))
    assert not torch.allclose(before, after, atol=1e-3)


def test_a_last_batch_of_one_is_predicted_with_the_batch_before(ranks_bundle: Bundle) -> None:
    """One image alone has no moments, so a layer on vectors would refuse it."""
    student = Student(Ranks(), ranks_bundle.manifest, ranks_bundle.base_slots())
    images = as_tensor(tiny_images(2 * BATCH + 1)[0])
    assert student.settled_probabilities(images).shape == (2 * BATCH + 1, 10)
    torch.testing.assert_close(student.probabilities(images)[-1:], student.probabilities(images[-1:]))


def _moments(student: Student, images: torch.Tensor) -> tuple[FloatArray, FloatArray]:
    """What the probe graph returns: [N, P] moments under the present statistics."""
    seen: list[torch.Tensor] = []
    hooks = [
        student.network.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs: seen.append(inputs[0].detach())
        )
        for name in ("norm1", "norm2")
    ]
    student.probabilities(images)
    for hook in hooks:
        hook.remove()
    mean = torch.cat([x.mean(dim=(2, 3)) for x in seen], dim=1).numpy()
    square = torch.cat([(x * x).mean(dim=(2, 3)) for x in seen], dim=1).numpy()
    return mean, square
