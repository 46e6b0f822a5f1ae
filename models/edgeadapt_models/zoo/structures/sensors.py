"""Networks whose input is no image: a series of sensor readings, and a spectrogram.

`series_fcn` is the fully convolutional network of Wang, Yan & Oates 2017 (arXiv 1611.06455) for [N, C, L]
with odd kernels (7, 5, 3), so that padding is symmetric. `ds_cnn` is the depthwise-separable keyword spotter
of Zhang et al. 2017 (arXiv 1711.07128) in MLPerf Tiny's size (Banbury et al. 2021, arXiv 2106.07597), for
[N, 1, mels, frames].
"""

from __future__ import annotations

from torch import Tensor, nn

from edgeadapt_models.zoo.structures.base import StructureSpec
from edgeadapt_models.zoo.structures.registry import register


class SeriesFcn(nn.Module):
    """Three convolutions along time, each with BatchNorm and ReLU; mean over time; head; D = 128 x width."""

    def __init__(self, spec: StructureSpec) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width_in = spec.shape[0]
        for published, kernel in ((128, 7), (256, 5), (128, 3)):
            width = spec.channels(published)
            layers.append(nn.Conv1d(width_in, width, kernel, padding=kernel // 2))
            layers += [nn.BatchNorm1d(width), nn.ReLU()]
            width_in = width
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.head = nn.Linear(width_in, spec.classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.pool(self.features(x)).flatten(1)
        return self.head(embedding), embedding


class DsCnn(nn.Module):
    """A 10x4 convolution, four depthwise-separable blocks of 64 channels, mean pool, head; D = 64 x width."""

    def __init__(self, spec: StructureSpec) -> None:
        super().__init__()
        width = spec.channels(64)
        layers: list[nn.Module] = [
            nn.Conv2d(spec.shape[0], width, (10, 4), 2, padding=(4, 1), bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        for _ in range(spec.blocks(4)):
            layers += [nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)]
            layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 1, bias=False)]
            layers += [nn.BatchNorm2d(width), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(width, spec.classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.pool(self.features(x)).flatten(1)
        return self.head(embedding), embedding


@register(
    "series_fcn",
    kind="array",
    full=StructureSpec((9, 128), classes=6),
    small=StructureSpec((3, 64), classes=6, width=0.125),
)
def series_fcn(spec: StructureSpec) -> nn.Module:
    """Full size: 128 readings of 9 channels, 6 activities."""
    return SeriesFcn(spec)


@register(
    "ds_cnn",
    kind="array",
    full=StructureSpec((1, 49, 10), classes=12),
    small=StructureSpec((1, 25, 10), classes=12, width=0.125, depth=0.5),
)
def ds_cnn(spec: StructureSpec) -> nn.Module:
    """Full size: 49 frames of 10 coefficients, 12 words."""
    return DsCnn(spec)
