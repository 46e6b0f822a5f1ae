"""From training to a card: what is loaded is what was measured."""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch

from edgeadapt.digest import sha256_hex
from edgeadapt_models.train import loop, publish
from edgeadapt_models.train.evaluate import accuracy, to_tensor
from edgeadapt_models.train.split import split
from edgeadapt_models.zoo import load_pretrained, parameter_count, pretrained_names, weights_card
from edgeadapt_models.zoo.registry import create
from edgeadapt_models.zoo.weights import network_from
from tests.models.train import tiny


def test_published_weights_are_the_trained_ones(tmp_path: Path) -> None:
    dataset = tiny.dataset()
    trained = loop.train(tiny.RECIPE, dataset, tmp_path / "run", holdout=tiny.HOLDOUT)
    card = publish.publish(tiny.RECIPE, trained, dataset, tmp_path / "weights", limit=64)
    assert pretrained_names(tmp_path / "weights") == (tiny.RECIPE.name,)
    assert weights_card(tiny.RECIPE.name, tmp_path / "weights") == card
    loaded = load_pretrained(tiny.RECIPE.name, tmp_path / "weights")
    images = to_tensor(dataset.test_images)
    with torch.no_grad():
        for mine, stored in zip(trained.network(images), loaded(images), strict=True):
            assert torch.equal(mine, stored)
    assert card.recipe == tiny.RECIPE
    assert card.storage == "float32"
    assert card.trained_s > 0
    assert card.measured.clean == round(accuracy(loaded, dataset.test_images, dataset.test_labels), 4)
    assert sorted(path.suffix for path in (tmp_path / "weights").iterdir()) == [".json", ".safetensors"]


def test_large_networks_are_stored_in_half_precision_and_measured_so() -> None:
    dataset = tiny.dataset()
    spec = loop.input_spec(dataset, split(dataset, holdout=tiny.HOLDOUT).fit)
    trained = loop.Trained(create("wide_resnet", spec).eval(), 1.0)
    assert parameter_count(trained.network) >= publish.HALF_PRECISION_FROM
    data = publish.encode(trained, torch.float16)
    assert len(data) < 2.2 * parameter_count(trained.network)
    recipe = msgspec.structs.replace(tiny.RECIPE, network="wide_resnet")
    card = publish.describe(recipe, trained, dataset, data, "float16")
    assert card.sha256 == sha256_hex(data)
    loaded = network_from(data, card)
    images = to_tensor(dataset.test_images[:8])
    with torch.no_grad():
        assert loaded(images)[0].dtype == torch.float32
        torch.testing.assert_close(loaded(images)[0], trained.network(images)[0], atol=0.05, rtol=0.05)
