"""MobileNetV3-Small (Howard et al. 2019, arXiv 1905.02244, table 2): hard swish and squeeze-and-excitation.

Squeeze-and-excitation scales channels with a hard sigmoid of two 1x1 convolutions of their means (section
5.3), so that some convolutions with a bias see one position only.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from edgeadapt_models.zoo.structures.base import StructureSpec
from edgeadapt_models.zoo.structures.registry import register

_EPSILON = 1e-3
"""BatchNorm's, as in the reference networks."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of table 2."""

    kernel: int
    expanded: int
    channels: int
    squeeze: bool
    hard_swish: bool
    stride: int


ROWS = (
    Row(3, 16, 16, True, False, 2),
    Row(3, 72, 24, False, False, 2),
    Row(3, 88, 24, False, False, 1),
    Row(5, 96, 40, True, True, 2),
    Row(5, 240, 40, True, True, 1),
    Row(5, 240, 40, True, True, 1),
    Row(5, 120, 48, True, True, 1),
    Row(5, 144, 48, True, True, 1),
    Row(5, 288, 96, True, True, 2),
    Row(5, 576, 96, True, True, 1),
    Row(5, 576, 96, True, True, 1),
)


def conv_norm(
    width_in: int, width: int, kernel: int, activation: nn.Module, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution, BatchNorm, activation."""
    conv = nn.Conv2d(width_in, width, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width, _EPSILON), activation)


class SqueezeExcitation(nn.Module):
    """Scale each channel by a hard sigmoid of two dense layers over all channels' means."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(width, squeezed, 1)
        self.relu = nn.ReLU()
        self.fc2 = nn.Conv2d(squeezed, width, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.gate(self.fc2(self.relu(self.fc1(self.pool(x))))) * x
        return result


class Bottleneck(nn.Module):
    """Expand, filter each channel, squeeze and excite, project; a shortcut where shapes allow it."""

    def __init__(self, spec: StructureSpec, width_in: int, row: Row) -> None:
        super().__init__()
        width, hidden = spec.channels(row.channels), spec.channels(row.expanded)
        kind = nn.Hardswish if row.hard_swish else nn.ReLU
        layers: list[nn.Module] = [] if hidden == width_in else [conv_norm(width_in, hidden, 1, kind())]
        layers.append(conv_norm(hidden, hidden, row.kernel, kind(), row.stride, groups=hidden))
        if row.squeeze:
            squeezed = StructureSpec(spec.shape).channels(hidden // 4)
            layers.append(SqueezeExcitation(hidden, squeezed))
        layers.append(conv_norm(hidden, width, 1, nn.Identity()))
        self.block = nn.Sequential(*layers)
        self.residual = row.stride == 1 and width_in == width

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return x + y if self.residual else y


class MobileNetV3(nn.Module):
    """Stem, bottlenecks, a 1x1 convolution, mean pool, a dense layer with hard swish, head; D = 1024."""

    def __init__(self, spec: StructureSpec, rows: tuple[Row, ...]) -> None:
        super().__init__()
        width_in = spec.channels(16)
        layers: list[nn.Module] = [conv_norm(spec.shape[0], width_in, 3, nn.Hardswish(), 2)]
        for row in rows:
            layers.append(Bottleneck(spec, width_in, row))
            width_in = spec.channels(row.channels)
        last, dense = spec.channels(576), spec.channels(1024)
        layers.append(conv_norm(width_in, last, 1, nn.Hardswish()))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dense = nn.Linear(last, dense)
        self.activation = nn.Hardswish()
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(dense, spec.classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.activation(self.dense(self.pool(self.features(x)).flatten(1)))
        return self.head(self.dropout(embedding)), embedding


def _rows(spec: StructureSpec) -> tuple[Row, ...]:
    """Every row; a shallower network keeps those that halve the resolution and one more."""
    return ROWS if spec.depth >= 1 else tuple(row for row in ROWS if row.stride == 2 or row is ROWS[6])


@register(
    "mobilenet_v3_small",
    full=StructureSpec((3, 224, 224)),
    small=StructureSpec((3, 32, 32), classes=10, width=0.25, depth=0.5),
)
def mobilenet_v3_small(spec: StructureSpec) -> nn.Module:
    """11 bottlenecks, 9 of them with squeeze-and-excitation."""
    return MobileNetV3(spec, _rows(spec))
