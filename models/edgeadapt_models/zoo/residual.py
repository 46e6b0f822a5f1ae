"""The basic residual block of He et al. 2016 (arXiv 1512.03385) and a stack of such blocks.

Each convolution is followed by its own `nn.BatchNorm2d`, so that a compiler can find, fold and patch every
norm layer. Whole networks are not here.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from edgeadapt_models.zoo.base import Classifier, InputSpec


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut; a 1x1 convolution where the shape changes.

    ``norm_shortcut`` puts a norm layer behind the 1x1 convolution (He et al., option B); without it the
    convolution has a bias (as in MLPerf Tiny).
    """

    def __init__(self, width_in: int, width: int, stride: int, *, norm_shortcut: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or width_in != width:
            self.shortcut = nn.Conv2d(width_in, width, 1, stride, bias=not norm_shortcut)
            if norm_shortcut:
                self.shortcut = nn.Sequential(self.shortcut, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        result: Tensor = self.relu(y + self.shortcut(x))
        return result


class ResidualNetwork(Classifier):
    """Stem, stages of `BasicBlock` (each stage but the first halves the resolution), mean pool, head.

    The embedding is the pooled output of the last stage: D = ``widths[-1]``.
    """

    def __init__(
        self,
        spec: InputSpec,
        *,
        stem_width: int,
        widths: Sequence[int],
        blocks_per_stage: int,
        stem_stride: int = 1,
        norm_shortcut: bool = True,
    ) -> None:
        super().__init__(spec)
        self.stem = nn.Conv2d(spec.channels, stem_width, 3, stem_stride, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(stem_width)
        self.relu = nn.ReLU()
        blocks: list[nn.Module] = []
        width_in = stem_width
        for stage, width in enumerate(widths):
            for index in range(blocks_per_stage):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(BasicBlock(width_in, width, stride, norm_shortcut=norm_shortcut))
                width_in = width
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(width_in, spec.classes)

    def embed(self, x: Tensor) -> Tensor:
        y = self.relu(self.stem_norm(self.stem(x)))
        result: Tensor = self.pool(self.blocks(y)).flatten(1)
        return result
