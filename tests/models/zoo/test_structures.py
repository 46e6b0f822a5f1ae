"""Structures: as published at full size, and usable at the small one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgeadapt.errors import ConfigError
from edgeadapt_models.zoo import parameter_count
from edgeadapt_models.zoo.structures import StructureSpec, build, examples, structure, structure_names

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d)
PUBLISHED = {
    "convnext_tiny": 28_589_128,
    "deit_tiny": 5_717_416,
    "densenet121": 7_978_856,
    "efficientnet_lite0": 4_652_008,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_small": 2_542_856,
    "resnet18": 11_689_512,
}
"""Parameters at 1,000 classes, as the papers (rounded) and the common implementations of each have them."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_full_size_is_the_published_network(name: str) -> None:
    kind = structure(name)
    with torch.device("meta"):
        assert parameter_count(kind.make(kind.full)) == PUBLISHED[name]


@pytest.mark.parametrize("name", structure_names())
def test_small_size(name: str) -> None:
    kind = structure(name)
    spec = kind.small
    module = build(kind)
    assert not module.training
    x = torch.from_numpy(examples(kind, spec, 5, seed=3))
    assert x.shape == (5, *spec.shape)
    with torch.no_grad():
        logits, embedding = module(x)
        assert isinstance(module.head, nn.Linear)
        torch.testing.assert_close(module.head(embedding), logits)
        alone, _ = module(x[2:3])
        again, _ = build(kind)(x)
    assert logits.shape == (5, spec.classes)
    torch.testing.assert_close(alone, logits[2:3], atol=1e-4, rtol=1e-4)
    assert torch.equal(again, logits)
    assert logits.std(dim=0).min() > 1e-3
    assert embedding.abs().max() < 50


@pytest.mark.parametrize("name", structure_names())
def test_no_two_norm_layers_have_equal_values(name: str) -> None:
    scales = [layer.weight for layer in build(structure(name)).modules() if isinstance(layer, _NORMS)]
    assert len(scales) >= 3
    assert len({tuple(scale.tolist()) for scale in scales}) == len(scales)


def test_rounding_of_channels() -> None:
    spec = StructureSpec((3, 32, 32), width=0.75)
    assert [spec.channels(n) for n in (16, 24, 32, 1280)] == [16, 24, 24, 960]
    assert [StructureSpec((3, 8, 8), depth=0.34).blocks(n) for n in (1, 3, 9)] == [1, 1, 3]


def test_an_unknown_structure_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"nosuch.*convnext_tiny.*resnet18"):
        structure("nosuch")


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="positive"):
        StructureSpec((3, 32, 32), width=0.0)
    with pytest.raises(ConfigError, match="30x32"):
        build(structure("deit_tiny"), StructureSpec((3, 30, 32)))
