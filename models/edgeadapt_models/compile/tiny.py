"""Tiny bundles for tests, the pair harness and the simulator: real in every part, made in a second.

The network is untrained but not random: its BatchNorm statistics are those of its own images, and its head is
a linear discriminant in closed form, so it is right far more often than chance and its entropies vary.
Nothing here is meant for use on real images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgeadapt.bundle import Bundle, InputSpec
from edgeadapt_models.compile.compiler import compile_module
from edgeadapt_models.compile.runtime import to_input
from edgeadapt_models.compile.scorers import ScorerRequest
from edgeadapt_models.compile.source.frames import Frames

CLASSES = tuple(f"pattern-{index}" for index in range(10))
SIDE = 28
_IMAGES = 400
_WIDTHS = (8, 12)
# One more than by default: to so small an embedding, two scorers show little of what is strange.
_SCORERS = ("fdbd", "prototype-mixture", "vim")


class TinyNet(nn.Module):
    """Two strided convolutions, each followed by a norm layer; D = 12."""

    def __init__(self, norm: Literal["batch", "layer"]) -> None:
        super().__init__()
        first, second = _WIDTHS
        self.conv1 = nn.Conv2d(1, first, 5, stride=2, padding=2, bias=False)
        self.conv2 = nn.Conv2d(first, second, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(first) if norm == "batch" else _ChannelNorm(first)
        self.norm2 = nn.BatchNorm2d(second) if norm == "batch" else _ChannelNorm(second)
        self.head = nn.Linear(second, len(CLASSES))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images float32 [N, 1, 28, 28] to (logits [N, 10], embedding [N, 12])."""
        y = self.norm1(self.conv1(x)).relu()
        embedding = self.norm2(self.conv2(y)).relu().mean(dim=(2, 3))
        return self.head(embedding), embedding


class _ChannelNorm(nn.Module):
    """LayerNorm over the channels of every position of [N, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return result


def tiny_images(count: int, seed: int = 0) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Gratings of ten orientations with noise: uint8 [count, 28, 28, 1] and their labels [count].

    The labels run 0, 1, ..., 9, 0, 1, ...; phase, frequency, brightness and noise are random.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % len(CLASSES)
    angle = (labels * np.pi / len(CLASSES))[:, None, None]
    phase = rng.uniform(0.0, 2 * np.pi, (count, 1, 1))
    frequency = rng.uniform(0.5, 0.8, (count, 1, 1))
    level = rng.uniform(90.0, 150.0, (count, 1, 1))
    row, column = np.mgrid[:SIDE, :SIDE]
    wave = np.sin(frequency * (np.cos(angle) * column + np.sin(angle) * row) + phase)
    noisy = level + 60 * wave + rng.normal(0, 12, wave.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)[..., None], labels


def tiny_module(seed: int = 0, norm: Literal["batch", "layer"] = "batch") -> TinyNet:
    """The network in eval mode, fitted to `tiny_images`; torch's global generator is untouched."""
    images, labels = tiny_images(_IMAGES, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = TinyNet(norm)
    with torch.no_grad():
        _fit_statistics(module, torch.from_numpy(to_input(images)))
        _, embedding = module.eval()(torch.from_numpy(to_input(images)))
        targets = torch.from_numpy(labels)
        means = torch.stack([embedding[targets == k].mean(dim=0) for k in range(len(CLASSES))])
        precision = torch.linalg.inv(
            torch.cov((embedding - means[targets]).T) + 1e-4 * torch.eye(len(means[0]))
        )
        module.head.weight.copy_(means @ precision)
        module.head.bias.copy_(-0.5 * ((means @ precision) * means).sum(dim=1))
    return module


def _fit_statistics(module: TinyNet, x: Tensor) -> None:
    """Make the running statistics those of x; momentum None is a plain average over the batches seen."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in layers:
        layer.momentum = None
    module.train()(x)
    for layer in layers:
        layer.momentum = 0.1


def tiny_bundle(out: Path, seed: int = 0, norm: Literal["batch", "layer"] = "batch") -> Bundle:
    """Compile `tiny_module` into the folder `out`: 28x28x1, 10 classes, 2 norm layers, a few kilobytes."""
    images, labels = tiny_images(_IMAGES, seed)
    return compile_module(
        tiny_module(seed, norm),
        name=f"tiny-{norm}-{seed}",
        classes=CLASSES,
        spec=InputSpec((1, SIDE, SIDE)),
        data=Frames(images, labels),
        out=out,
        scorers=ScorerRequest(_SCORERS),
    ).bundle
