"""ConvNeXt-Tiny (Liu et al. 2022, arXiv 2201.03545): LayerNorm over the channels of a convolutional network.

Its stem and its downsampling layers normalise [N, C, H, W] (here by permuting), its blocks [N, H, W, C]; the
output of each block is scaled per channel (layer scale, Touvron et al. 2021, arXiv 2103.17239).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeadapt_models.zoo.structures.base import StructureSpec
from edgeadapt_models.zoo.structures.registry import register

_EPSILON = 1e-6
_LAYER_SCALE = 0.1
"""Trained values are of this size; the paper starts at 1e-6, where an untrained block would do nothing."""


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of [N, C, H, W]."""

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return result


class Block(nn.Module):
    """A 7x7 filter per channel, LayerNorm, two dense layers per position with GELU, layer scale, shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=_EPSILON)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.full((width,), _LAYER_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.gamma * self.pwconv2(self.act(self.pwconv1(y)))
        result: Tensor = x + y.permute(0, 3, 1, 2)
        return result


class ConvNeXt(nn.Module):
    """Patches of 4x4, four stages with a normalised 2x2 convolution between, mean pool, LayerNorm, head."""

    def __init__(self, spec: StructureSpec) -> None:
        super().__init__()
        widths = [spec.channels(width) for width in (96, 192, 384, 768)]
        layers: list[nn.Module] = [
            nn.Conv2d(spec.shape[0], widths[0], 4, 4),
            ChannelNorm(widths[0], eps=_EPSILON),
        ]
        for index, (width, blocks) in enumerate(zip(widths, (3, 3, 9, 3), strict=True)):
            if index:
                layers += [
                    ChannelNorm(widths[index - 1], eps=_EPSILON),
                    nn.Conv2d(widths[index - 1], width, 2, 2),
                ]
            layers += [Block(width) for _ in range(spec.blocks(blocks))]
        self.features = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(widths[-1], eps=_EPSILON)
        self.head = nn.Linear(widths[-1], spec.classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.norm(self.features(x).mean(dim=(2, 3)))
        return self.head(embedding), embedding


@register(
    "convnext_tiny",
    full=StructureSpec((3, 224, 224)),
    small=StructureSpec((3, 32, 32), classes=10, width=0.125, depth=0.34),
)
def convnext_tiny(spec: StructureSpec) -> nn.Module:
    """18 blocks; D = 768."""
    return ConvNeXt(spec)
