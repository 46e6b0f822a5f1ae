"""Measuring: the figures are those of the network, and own statistics recover a shifted domain."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgeadapt.errors import ConfigError
from edgeadapt_models.data import Dataset, load
from edgeadapt_models.data.corruptions import CORRUPTIONS
from edgeadapt_models.train import evaluate
from edgeadapt_models.zoo import InputSpec, create, load_pretrained
from tests.models.train import tiny


@pytest.fixture(scope="module")
def fashion() -> Dataset:
    return load("fashion-mnist")


def test_predictions_do_not_depend_on_the_batch(fashion: Dataset) -> None:
    network = load_pretrained("fashion-mnist/resnet8")
    images = fashion.test_images[:300]
    whole = evaluate.predict(network, images)
    parts = np.concatenate([evaluate.predict(network, images[:7]), evaluate.predict(network, images[7:])])
    assert np.array_equal(whole, parts)
    assert evaluate.accuracy(network, images, whole) == 1.0


def test_own_statistics_recover_a_shifted_domain(fashion: Dataset) -> None:
    network = load_pretrained("fashion-mnist/resnet8")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = evaluate.corrupted_test(fashion, "brightness", 5, 500)
    labels = fashion.test_labels[:500]
    adapted = evaluate.with_own_statistics(network, images)
    assert evaluate.accuracy(adapted, images, labels) > evaluate.accuracy(network, images, labels) + 0.3
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not adapted.training
    assert all(torch.equal(p, q) for p, q in zip(adapted.parameters(), network.parameters(), strict=True))


def test_corrupted_images_are_the_same_every_time(fashion: Dataset) -> None:
    first = evaluate.corrupted_test(fashion, "gaussian_noise", 3, 20)
    assert np.array_equal(first, evaluate.corrupted_test(fashion, "gaussian_noise", 3, 20))
    assert not np.array_equal(first, evaluate.corrupted_test(fashion, "gaussian_noise", 3, 20, seed=1))


def test_measure_covers_every_corruption() -> None:
    dataset = tiny.dataset()
    network = create("resnet8", InputSpec(1, 12, 12, 3)).eval()
    seen: list[str] = []
    measured = evaluate.measure(
        network, dataset, severity=1, limit=64, observe=lambda domain: seen.append(domain.corruption)
    )
    assert tuple(seen) == CORRUPTIONS
    assert (measured.severity, measured.clean_images, measured.domain_images) == (1, 96, 64)
    assert measured.mean_frozen == pytest.approx(np.mean([domain.frozen for domain in measured.domains]))
    assert measured.mean_own_statistics is not None


def test_a_network_without_running_statistics_has_none_of_its_own() -> None:
    network = create("vit_small", InputSpec(1, 12, 12, 3)).eval()
    measured = evaluate.measure(network, tiny.dataset(), severity=1, limit=32)
    assert measured.mean_own_statistics is None
    assert all(domain.own_statistics is None for domain in measured.domains)


def test_an_unknown_severity_is_refused() -> None:
    with pytest.raises(ConfigError, match="severity"):
        evaluate.measure(create("resnet8", InputSpec(1, 12, 12, 3)), tiny.dataset(), severity=6)
