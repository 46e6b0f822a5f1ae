"""Networks: shapes, sizes, and the promises that compiling and adapting rely on."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgeadapt.errors import ConfigError
from edgeadapt_models.zoo import InputSpec, create, network, network_names, parameter_count
from edgeadapt_models.zoo.base import Classifier
from edgeadapt_models.zoo.tempered import TemperedResidualNetwork

GREY = InputSpec(1, 28, 28, 10, (0.3,), (0.4,))
COLOUR = InputSpec(3, 32, 32, 7, (0.5, 0.4, 0.3), (0.2, 0.2, 0.3))
EMBEDDING = {"resnet8": 64, "resnet8_abet": 64, "resnet20": 64, "vit_small": 128, "wide_resnet": 256}


@pytest.mark.parametrize("spec", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("name", network_names())
def test_outputs(name: str, spec: InputSpec) -> None:
    model = create(name, spec).eval()
    images = torch.rand(5, spec.channels, spec.height, spec.width)
    with torch.no_grad():
        logits, embedding = model(images)
        assert logits.shape == (5, spec.classes)
        assert embedding.shape == (5, EMBEDDING[name])
        assert isinstance(model.head, nn.Linear)
        torch.testing.assert_close(model.classify(embedding), logits)
        if not isinstance(model, TemperedResidualNetwork):
            torch.testing.assert_close(model.head(embedding), logits)
        alone, _ = model(images[2:3])
    torch.testing.assert_close(alone, logits[2:3], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("resnet8", 77_000, 79_000),
        ("resnet8_abet", 77_000, 79_000),
        ("resnet20", 268_000, 275_000),
        ("vit_small", 500_000, 800_000),
        ("wide_resnet", 2_000_000, 4_000_000),
    ],
)
def test_sizes(name: str, low: int, high: int) -> None:
    assert low <= parameter_count(create(name, GREY)) <= high


@pytest.mark.parametrize(
    ("name", "batch_norms", "layer_norms"),
    [
        ("resnet8", 7, 0),
        ("resnet8_abet", 7, 0),
        ("resnet20", 21, 0),
        ("wide_resnet", 15, 0),
        ("vit_small", 0, 11),
    ],
)
def test_norm_layers(name: str, batch_norms: int, layer_norms: int) -> None:
    modules = list(create(name, GREY).modules())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in modules) == batch_norms
    assert sum(isinstance(module, nn.LayerNorm) for module in modules) == layer_norms


@pytest.mark.parametrize("name", network_names())
def test_export_records_a_graph_without_control_flow(name: str) -> None:
    model = create(name, GREY).eval()
    images = torch.rand(2, 1, 28, 28)
    program = torch.export.export(model, (images,))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(images)[0], model(images)[0])


def test_normalize_travels_with_the_weights() -> None:
    trained, fresh = create("resnet8", COLOUR), create("resnet8", InputSpec(3, 32, 32, 7))
    fresh.load_state_dict(trained.state_dict())
    images = torch.rand(2, 3, 32, 32)
    expected = (images - torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)) / torch.tensor([0.2, 0.2, 0.3]).view(
        1, 3, 1, 1
    )
    torch.testing.assert_close(fresh.normalize(images), expected)


def test_the_teacher_does_not_see_a_change_of_exposure() -> None:
    images = torch.rand(4, 1, 28, 28)
    with torch.no_grad():
        change = {
            name: (model(images * 0.5 + 0.4)[1] - model(images)[1]).norm() / model(images)[1].norm()
            for name in ("wide_resnet", "resnet20")
            for model in [create(name, GREY).eval()]
        }
    assert change["wide_resnet"] < 0.15
    assert change["resnet20"] > 2 * change["wide_resnet"]


def test_the_transformer_names_a_size_it_cannot_cut() -> None:
    with pytest.raises(ConfigError, match="30x28"):
        create("vit_small", InputSpec(1, 30, 28, 10))


def test_an_unknown_network_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"nosuch.*resnet20, resnet8"):
        create("nosuch", GREY)


def test_a_name_is_taken_once() -> None:
    def another(spec: InputSpec) -> Classifier:
        return create("resnet20", spec)

    with pytest.raises(ConfigError, match="twice"):
        network("resnet8")(another)


@pytest.mark.parametrize(
    ("mean", "std", "channels"), [((0.5,), (), 3), ((), (1.0, 1.0), 1), ((), (0.0,), 1), ((), (), 0)]
)
def test_an_impossible_input_is_refused(
    mean: tuple[float, ...], std: tuple[float, ...], channels: int
) -> None:
    with pytest.raises(ConfigError):
        InputSpec(channels, 28, 28, 10, mean, std)
