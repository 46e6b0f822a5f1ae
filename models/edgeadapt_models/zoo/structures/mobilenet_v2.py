"""Inverted residuals with linear bottlenecks: MobileNetV2 and EfficientNet-Lite0.

MobileNetV2 is Sandler et al. 2018 (arXiv 1801.04381), table 2. EfficientNet-Lite0 is EfficientNet-B0 (Tan
& Le 2019, arXiv 1905.11946, table 1) without squeeze-and-excitation, with ReLU6 for swish, and with a stem
and a last layer whose width and depth are not scaled. Both clip activations at 6.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from edgeadapt_models.zoo.structures.base import StructureSpec
from edgeadapt_models.zoo.structures.registry import register

_FULL = StructureSpec((3, 224, 224))
_SMALL = StructureSpec((3, 32, 32), classes=10, width=0.25, depth=0.34)


@dataclass(frozen=True, slots=True)
class Stage:
    """One row of the papers' tables: expansion, kernel, channels, blocks, stride of the first block."""

    expansion: int
    kernel: int
    channels: int
    blocks: int
    stride: int


MOBILENET_V2 = (
    Stage(1, 3, 16, 1, 1),
    Stage(6, 3, 24, 2, 2),
    Stage(6, 3, 32, 3, 2),
    Stage(6, 3, 64, 4, 2),
    Stage(6, 3, 96, 3, 1),
    Stage(6, 3, 160, 3, 2),
    Stage(6, 3, 320, 1, 1),
)
EFFICIENTNET_LITE0 = (
    Stage(1, 3, 16, 1, 1),
    Stage(6, 3, 24, 2, 2),
    Stage(6, 5, 40, 2, 2),
    Stage(6, 3, 80, 3, 2),
    Stage(6, 5, 112, 3, 1),
    Stage(6, 5, 192, 4, 2),
    Stage(6, 3, 320, 1, 1),
)


def conv_norm(width_in: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU6."""
    conv = nn.Conv2d(width_in, width, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU6())


class InvertedResidual(nn.Module):
    """Expand with a 1x1 convolution, filter each channel, project without an activation."""

    def __init__(self, width_in: int, stage: Stage, width: int, stride: int) -> None:
        super().__init__()
        hidden = width_in * stage.expansion
        layers: list[nn.Module] = [] if stage.expansion == 1 else [conv_norm(width_in, hidden, 1)]
        layers.append(conv_norm(hidden, hidden, stage.kernel, stride, groups=hidden))
        layers += [nn.Conv2d(hidden, width, 1, bias=False), nn.BatchNorm2d(width)]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and width_in == width

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """Stem, stages of `InvertedResidual`, a 1x1 convolution to 1280 channels, mean pool, dropout, head."""

    def __init__(self, spec: StructureSpec, stages: tuple[Stage, ...]) -> None:
        super().__init__()
        width_in = spec.channels(32)
        layers: list[nn.Module] = [conv_norm(spec.shape[0], width_in, 3, 2)]
        for stage in stages:
            width = spec.channels(stage.channels)
            for index in range(spec.blocks(stage.blocks)):
                layers.append(InvertedResidual(width_in, stage, width, stage.stride if index == 0 else 1))
                width_in = width
        last = spec.channels(1280)
        layers.append(conv_norm(width_in, last, 1))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(last, spec.classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.pool(self.features(x)).flatten(1)
        return self.head(self.dropout(embedding)), embedding


@register("mobilenet_v2", full=_FULL, small=_SMALL)
def mobilenet_v2(spec: StructureSpec) -> nn.Module:
    """17 inverted residuals with 3x3 filters; D = 1280."""
    return MobileNetV2(spec, MOBILENET_V2)


@register("efficientnet_lite0", full=_FULL, small=_SMALL)
def efficientnet_lite0(spec: StructureSpec) -> nn.Module:
    """16 inverted residuals with 3x3 and 5x5 filters; D = 1280."""
    return MobileNetV2(spec, EFFICIENTNET_LITE0)
