"""DeiT-Tiny (Touvron et al. 2021, arXiv 2012.12877), which is ViT-Tiny: class token, learned positions.

Twelve pre-norm blocks of width 192 with 3 heads over patches of 16x16. Attention is written out, as most
exporters write it (the fused operator exports to the same).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeadapt.errors import ConfigError
from edgeadapt_models.zoo.structures.base import StructureSpec
from edgeadapt_models.zoo.structures.registry import register
from edgeadapt_models.zoo.vit_small import Attention

_PATCH = 16
_HEADS = 3
_EPSILON = 1e-6


class Block(nn.Module):
    """Attention and a two-layer perceptron, each normalised before and added to its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPSILON)
        self.attn = Attention(width, _HEADS)
        self.norm2 = nn.LayerNorm(width, eps=_EPSILON)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        result: Tensor = x + self.mlp(self.norm2(x))
        return result


class VisionTransformer(nn.Module):
    """Patches, class token, positions, blocks, LayerNorm, head on the class token; D = 192 x width.

    Raises:
        ConfigError: height or width of the images is not a multiple of 16.
    """

    def __init__(self, spec: StructureSpec) -> None:
        super().__init__()
        channels, height, width_px = spec.shape
        if height % _PATCH or width_px % _PATCH:
            raise ConfigError(f"images of {height}x{width_px} do not divide into {_PATCH}x{_PATCH} patches")
        width = spec.channels(192, divisor=8 * _HEADS)
        tokens = (height // _PATCH) * (width_px // _PATCH)
        self.patch_embed = nn.Conv2d(channels, width, _PATCH, _PATCH)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, tokens + 1, width) * 0.02)
        self.blocks = nn.Sequential(*[Block(width) for _ in range(spec.blocks(12))])
        self.norm = nn.LayerNorm(width, eps=_EPSILON)
        self.head = nn.Linear(width, spec.classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        patches = self.patch_embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        embedding = self.norm(self.blocks(tokens + self.pos_embed))[:, 0]
        return self.head(embedding), embedding


@register(
    "deit_tiny",
    full=StructureSpec((3, 224, 224)),
    small=StructureSpec((3, 32, 32), classes=10, width=0.25, depth=0.17),
)
def deit_tiny(spec: StructureSpec) -> nn.Module:
    """12 blocks, 25 LayerNorms; D = 192."""
    return VisionTransformer(spec)
