"""A small vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929) with LayerNorm and no BatchNorm.

It stands for the models whose normalisation has no running statistics: only their affine parameters can be
adapted. Pre-norm blocks, learned positions, mean pooling over patches instead of a class token.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeadapt.errors import ConfigError
from edgeadapt_models.zoo.base import Classifier, InputSpec
from edgeadapt_models.zoo.registry import network

PATCH = 4
"""Side of a patch, pixels."""


class Attention(nn.Module):
    """Multi-head self-attention over tokens, float32 [N, T, D] to the same shape."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts[0], parts[1], parts[2]
        # Written out: on a CPU the fused operator is slower in bfloat16, and this exports to plain operators.
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        mixed = scores.softmax(dim=-1) @ value
        result: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return result


class TransformerBlock(nn.Module):
    """Pre-norm attention and a two-layer perceptron, each with a residual connection."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        result: Tensor = x + self.mlp(self.norm2(x))
        return result


class VisionTransformer(Classifier):
    """Patches of 4x4 pixels, learned positions, ``depth`` blocks, mean pool, head; D = ``width``.

    Raises:
        ConfigError: height or width of the images is not a multiple of the patch side.
    """

    def __init__(self, spec: InputSpec, *, width: int, depth: int, heads: int, hidden: int) -> None:
        super().__init__(spec)
        if spec.height % PATCH or spec.width % PATCH:
            raise ConfigError(
                f"images of {spec.height}x{spec.width} do not divide into {PATCH}x{PATCH} patches"
            )
        tokens = (spec.height // PATCH) * (spec.width // PATCH)
        self.patches = nn.Conv2d(spec.channels, width, PATCH, PATCH)
        self.positions = nn.Parameter(torch.randn(1, tokens, width) * 0.02)
        self.blocks = nn.Sequential(*[TransformerBlock(width, heads, hidden) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, spec.classes)

    def embed(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        result: Tensor = self.norm(self.blocks(tokens)).mean(dim=1)
        return result


@network("vit_small")
def vit_small(spec: InputSpec) -> Classifier:
    """Build an untrained small transformer: width 128, 5 blocks, 4 heads; about 0.66 M parameters."""
    return VisionTransformer(spec, width=128, depth=5, heads=4, hidden=256)
