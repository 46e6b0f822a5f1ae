"""ResNet-18 at ImageNet size (He et al. 2016, arXiv 1512.03385) and its kin with other norm layers.

`resnet18` has BatchNorm behind every convolution, `resnet18_group` GroupNorm (Wu & He 2018, arXiv
1803.08494), `resnet18_instance` InstanceNorm with affine parameters (Ulyanov et al. 2016, arXiv 1607.08022),
and `preact_resnet18` has BatchNorm and ReLU in front of every convolution (He et al. 2016, arXiv 1603.05027),
where no norm layer can be folded into the convolution before it. The small CIFAR networks are in
`zoo.residual`.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from edgeadapt_models.zoo.structures.base import StructureSpec
from edgeadapt_models.zoo.structures.registry import register

Norm = Callable[[int], nn.Module]

_FULL = StructureSpec((3, 224, 224))
_SMALL = StructureSpec((3, 48, 48), classes=10, width=0.125, depth=0.5)
_GROUPS = 32


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a norm layer behind each; a normalised 1x1 where the shape changes."""

    def __init__(self, width_in: int, width: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False)
        self.bn1 = norm(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = norm(width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or width_in != width:
            self.downsample = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), norm(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        result: Tensor = self.relu(y + self.downsample(x))
        return result


class PreactBlock(nn.Module):
    """Norm, ReLU, convolution, twice; the shortcut's 1x1 convolution takes the first activation."""

    def __init__(self, width_in: int, width: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.bn1 = norm(width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False)
        self.bn2 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.relu = nn.ReLU()
        self.downsample: nn.Module | None = None
        if stride != 1 or width_in != width:
            self.downsample = nn.Conv2d(width_in, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(x))
        shortcut = x if self.downsample is None else self.downsample(y)
        result: Tensor = shortcut + self.conv2(self.relu(self.bn2(self.conv1(y))))
        return result


class ResNet(nn.Module):
    """Stem of a 7x7 convolution and a max pool, four stages, mean pool, head; D = 512 x width."""

    def __init__(self, spec: StructureSpec, norm: Norm, *, preact: bool = False) -> None:
        super().__init__()
        widths = [spec.channels(width) for width in (64, 128, 256, 512)]
        self.conv1 = nn.Conv2d(spec.shape[0], widths[0], 7, 2, padding=3, bias=False)
        self.bn1 = nn.Identity() if preact else norm(widths[0])
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        stages: list[nn.Module] = []
        width_in = widths[0]
        block = PreactBlock if preact else BasicBlock
        for index, width in enumerate(widths):
            blocks: list[nn.Module] = []
            for number in range(spec.blocks(2)):
                blocks.append(block(width_in, width, 2 if index > 0 and number == 0 else 1, norm))
                width_in = width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.last = nn.Sequential(norm(width_in), nn.ReLU()) if preact else nn.Identity()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(width_in, spec.classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.bn1(self.conv1(x))
        if not isinstance(self.bn1, nn.Identity):
            y = self.relu(y)
        embedding = self.avgpool(self.last(self.stages(self.maxpool(y)))).flatten(1)
        return self.head(embedding), embedding


def _group_norm(width: int) -> nn.Module:
    return nn.GroupNorm(min(_GROUPS, width // 2), width)


def _instance_norm(width: int) -> nn.Module:
    return nn.InstanceNorm2d(width, affine=True)


@register("resnet18", full=_FULL, small=_SMALL)
def resnet18(spec: StructureSpec) -> nn.Module:
    """20 convolutions, each with a BatchNorm."""
    return ResNet(spec, nn.BatchNorm2d)


@register("resnet18_group", full=_FULL, small=_SMALL)
def resnet18_group(spec: StructureSpec) -> nn.Module:
    """GroupNorm with 32 groups (of at least two channels)."""
    return ResNet(spec, _group_norm)


# An instance of one position has no spread: the small network keeps 3x3 in its last stage.
@register(
    "resnet18_instance", full=_FULL, small=StructureSpec((3, 96, 96), classes=10, width=0.125, depth=0.5)
)
def resnet18_instance(spec: StructureSpec) -> nn.Module:
    """InstanceNorm with scale and bias."""
    return ResNet(spec, _instance_norm)


@register("preact_resnet18", full=_FULL, small=_SMALL)
def preact_resnet18(spec: StructureSpec) -> nn.Module:
    """17 BatchNorms, none of them right behind the convolution whose input it sees."""
    return ResNet(spec, nn.BatchNorm2d, preact=True)
