"""DenseNet-121 (Huang et al. 2017, arXiv 1608.06993, table 1): every layer sees all layers before it.

BatchNorm and ReLU come before the convolutions, and one concatenated tensor feeds many norm layers, each of
which normalises the same channels in its own way.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeadapt_models.zoo.structures.base import StructureSpec
from edgeadapt_models.zoo.structures.registry import register

_GROWTH = 32
_BOTTLENECK = 4


class DenseLayer(nn.Module):
    """Norm, ReLU, 1x1 to four times the growth; norm, ReLU, 3x3 to the growth; appended to the input."""

    def __init__(self, width_in: int, growth: int) -> None:
        super().__init__()
        hidden = _BOTTLENECK * growth
        self.norm1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, hidden, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, growth, 3, padding=1, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.relu(self.norm2(self.conv1(self.relu(self.norm1(x))))))
        return torch.cat([x, y], dim=1)


class DenseNet(nn.Module):
    """Stem as ResNet's, four dense blocks with halving transitions between, BatchNorm, ReLU, pool, head."""

    def __init__(self, spec: StructureSpec) -> None:
        super().__init__()
        growth, width = spec.channels(_GROWTH, divisor=4), spec.channels(64)
        layers: list[nn.Module] = [
            nn.Conv2d(spec.shape[0], width, 7, 2, padding=3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, padding=1),
        ]
        for index, count in enumerate((6, 12, 24, 16)):
            if index:
                layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width // 2, 1, bias=False)]
                layers.append(nn.AvgPool2d(2))
                width //= 2
            for _ in range(spec.blocks(count)):
                layers.append(DenseLayer(width, growth))
                width += growth
        self.features = nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(width, spec.classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.pool(self.features(x)).flatten(1)
        return self.head(embedding), embedding


@register(
    "densenet121",
    full=StructureSpec((3, 224, 224)),
    small=StructureSpec((3, 64, 64), classes=10, width=0.25, depth=0.1),
)
def densenet121(spec: StructureSpec) -> nn.Module:
    """58 dense layers; D = 1024."""
    return DenseNet(spec)
