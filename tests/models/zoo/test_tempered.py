"""The learned temperature: its formula, its statistics, and what a compiler makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgeadapt.bundle import InputSpec as BundleInput
from edgeadapt_models.compile import compile_module
from edgeadapt_models.compile.source.frames import Frames
from edgeadapt_models.zoo import InputSpec, create
from edgeadapt_models.zoo.tempered import LearnedTemperature, TemperedResidualNetwork, temperatures

SPEC = InputSpec(1, 12, 12, 3)


def trained() -> TemperedResidualNetwork:
    """A network whose temperature has statistics, scale and shift that are not those it began with."""
    torch.manual_seed(0)
    network = create("resnet8_abet", SPEC)
    assert isinstance(network, TemperedResidualNetwork)
    with torch.no_grad():
        network.temperature.scale.fill_(1.7)
        network.temperature.shift.fill_(-0.4)
    for seed in range(3):
        network(torch.rand(16, 1, 12, 12, generator=torch.Generator().manual_seed(seed)))
    return network.eval()


def test_logits_are_cosines_over_the_temperature() -> None:
    network = trained()
    logits, embedding = network(torch.rand(5, 1, 12, 12))
    temperature = network.temperature(embedding).detach()
    assert 0 < float(temperature.min()) < float(temperature.max()) < 1
    f, w = embedding.detach().numpy(), network.head.weight.detach().numpy()
    cosine = f @ w.T / np.linalg.norm(f, axis=1)[:, None] / np.linalg.norm(w, axis=1)
    np.testing.assert_allclose((logits.detach() * temperature).numpy(), cosine, atol=1e-5)


def test_training_normalises_as_batch_normalisation_does() -> None:
    """Against torch's own layer, in training and after it."""
    torch.manual_seed(1)
    ours, theirs = LearnedTemperature(8), torch.nn.BatchNorm1d(1)
    for _ in range(20):
        f = torch.rand(64, 8)
        expected = torch.sigmoid(theirs(ours.direction(f)))
        torch.testing.assert_close(ours(f), expected)
    f = torch.rand(6, 8)
    torch.testing.assert_close(
        ours.eval()(f), torch.sigmoid(theirs.eval()(ours.direction(f))), atol=2e-3, rtol=2e-3
    )


def test_who_has_the_embedding_has_the_temperature() -> None:
    network = trained()
    _, embedding = network(torch.rand(5, 1, 12, 12))
    found = temperatures(network, embedding.detach().numpy())
    assert found is not None
    np.testing.assert_allclose(found, network.temperature(embedding).detach().numpy()[:, 0], atol=1e-6)
    assert temperatures(create("resnet8", SPEC), embedding.detach().numpy()) is None


def test_it_compiles_and_its_temperature_is_no_slot(tmp_path: Path) -> None:
    network = trained()
    images = np.random.default_rng(0).integers(0, 255, (64, 12, 12, 1), dtype=np.uint8)
    done = compile_module(
        network,
        name="tempered",
        classes=("a", "b", "c"),
        spec=BundleInput((1, 12, 12)),
        data=Frames(images, None),
        out=tmp_path / "bundle",
    )
    assert len(done.bundle.manifest.norm_layers) == 7
    assert not [slot.name for slot in done.bundle.manifest.slots if "temperature" in slot.name]
    assert max(figure.difference for figure in done.parity) == pytest.approx(0, abs=1e-4)
