"""The networks that are timed: published structures, with values that make them behave like trained ones.

Weights are random, but BatchNorm's statistics are those of real images, and the head is a linear
discriminant over the embeddings of these images in closed form: predictions are often right and their
entropies vary, so an agent flags and learns as it would with a trained model. The time of an inference does
not depend on the values. Not here: compiling them, and what is measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgeadapt.errors import ConfigError
from edgeadapt_models.compile.runtime import to_input
from edgeadapt_models.data import load
from edgeadapt_models.zoo import InputSpec, create, structures
from edgeadapt_models.zoo.structures import StructureSpec, structure

DATASET = "fashion-mnist"
_SEED = 0
_BATCH = 16
_RIDGE = 0.05


@dataclass(frozen=True, slots=True)
class Network:
    """A network at the size at which it is used.

    Attributes:
        name: such as "resnet18".
        side: height and width of its input, in pixels; three channels.
        images: real images that its statistics and its head are fitted to, and that calibrate the bundle.
    """

    name: str
    side: int
    images: int

    @property
    def large(self) -> bool:
        """True for the sizes whose agent must cost 5 % at most."""
        return self.side >= 224


NETWORKS = (
    Network("resnet8", 32, 512),
    Network("resnet20", 32, 512),
    Network("resnet18", 224, 64),
    Network("mobilenet_v2", 224, 64),
)


def network(name: str) -> Network:
    """The network of that name; raises ConfigError that lists those there are."""
    for found in NETWORKS:
        if found.name == name:
            return found
    raise ConfigError(f"unknown network {name!r}; known: {', '.join(n.name for n in NETWORKS)}")


@dataclass(frozen=True, slots=True)
class Pictures:
    """Real images uint8 [N, H, W, 3] with their labels [N] and class names."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]


def pictures(side: int, count: int, *, split: str) -> Pictures:
    """The first images of a split of the demo's data set, enlarged to `side`, each in colours of its own.

    Grey on black would leave channels of a deep network all but constant, which no trained one has.
    """
    data = load(DATASET)
    images, labels = (
        (data.train_images, data.train_labels) if split == "train" else (data.test_images, data.test_labels)
    )
    enlarged = [
        np.asarray(Image.fromarray(image[..., 0]).resize((side, side), Image.Resampling.BILINEAR))
        for image in images[:count]
    ]
    rng = np.random.default_rng(_SEED)
    dark = rng.uniform(0.0, 90.0, (count, 1, 1, 3))
    bright = rng.uniform(150.0, 255.0, (count, 1, 1, 3))
    coloured = dark + (bright - dark) * np.stack(enlarged)[..., None] / 255.0
    return Pictures(coloured.astype(np.uint8), labels[:count], data.classes)


def build(wanted: Network, source: Pictures) -> nn.Module:
    """The network in eval mode, fitted to `source`; torch's global generator is untouched."""
    classes = len(source.classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        module = _bare(wanted, classes)
    x = torch.from_numpy(to_input(source.images))
    _fit_statistics(module, x)
    module.eval().requires_grad_(False)
    _fit_head(module, x, torch.from_numpy(source.labels), classes)
    return module


def _bare(wanted: Network, classes: int) -> nn.Module:
    if not wanted.large:
        spec = InputSpec(3, wanted.side, wanted.side, classes, mean=(0.5,) * 3, std=(0.25,) * 3)
        return create(wanted.name, spec)
    return structures.build(structure(wanted.name), StructureSpec((3, wanted.side, wanted.side), classes))


@torch.no_grad()
def _fit_statistics(module: nn.Module, x: torch.Tensor) -> None:
    """BatchNorm's running statistics become a plain average over batches of `x` (momentum None)."""
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    for layer in layers:
        layer.momentum = None
    module.train()
    for part in torch.split(x, _BATCH):
        module(part)
    for layer in layers:
        layer.momentum = 0.1


@torch.no_grad()
def _fit_head(module: nn.Module, x: torch.Tensor, labels: torch.Tensor, classes: int) -> None:
    """Linear discriminant: weights mean_k S^-1, biases -mean_k S^-1 mean_k / 2, S a shrunk covariance."""
    embedding = torch.cat([module(part)[1] for part in torch.split(x, _BATCH)])
    means = torch.stack([embedding[labels == k].mean(dim=0) for k in range(classes)])
    covariance = torch.cov((embedding - means[labels]).T)
    spread = covariance.diagonal().mean()
    size = len(covariance)
    precision = torch.linalg.inv(covariance + _RIDGE * size**0.5 * spread * torch.eye(size))
    head = module.head
    assert isinstance(head, nn.Linear)
    head.weight.copy_(means @ precision)
    head.bias.copy_(-0.5 * ((means @ precision) * means).sum(dim=1))
