"""Torch modules that are hard, or impossible, to compile; and the call that tries to."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgeadapt.bundle import Bundle
from edgeadapt_models.compile import compile_model, tiny_images

CLASSES = tuple(f"class-{index}" for index in range(10))


def compile_small(module: nn.Module, out: Path) -> Bundle:
    """Compile for 28x28x1 and ten classes."""
    images, labels = tiny_images(40, seed=1)
    return compile_model(
        module,
        name="small",
        classes=CLASSES,
        input_shape=(1, 28, 28),
        calibration_images=images,
        calibration_labels=labels,
        out=out,
    )


class Twins(nn.Module):
    """Two BatchNorms of equal width with equal values in all four slots; the exporter stores them once."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=4, bias=False)
        self.norm1: _BatchNorm = nn.BatchNorm2d(4)
        self.mix: nn.Module = nn.Conv2d(4, 4, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(logits [N, 10], embedding [N, 4])."""
        embedding = self.norm2(self.mix(self.norm1(self.conv(x)).relu())).mean(dim=(2, 3))
        return self.head(embedding), embedding


class Tied(Twins):
    """Both layers hold the very same scale and bias parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.norm2.weight, self.norm2.bias = self.norm1.weight, self.norm1.bias


class Plain(nn.Module):
    """Convolutions with biases and no norm layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=4)
        self.mix = nn.Conv2d(4, 6, 1)
        self.head = nn.Linear(6, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(logits [N, 10], embedding [N, 6])."""
        embedding = self.mix(self.conv(x).relu()).relu().mean(dim=(2, 3))
        return self.head(embedding), embedding


class NoNorm(nn.Module):
    """Nothing to adapt."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(784, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(logits, embedding)."""
        embedding = x.flatten(1)
        return self.head(embedding), embedding


class Branching(Twins):
    """Goes one way or the other depending on pixel values."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(logits, embedding)."""
        return super().forward(x if x.mean() > 0.5 else 1 - x)


class LogitsOnly(Twins):
    """Forgets the embedding."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Only the logits."""
        return super().forward(x)[0]


class Named(Twins):
    """Returns its outputs by name."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        """{"logits": [N, 10]}."""
        return {"logits": super().forward(x)[0]}


class SpatialEmbedding(Twins):
    """Its embedding is no matrix."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(logits, x)."""
        return super().forward(x)[0], x


class NineClasses(Twins):
    """One class short."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 9)


class Repeated(Twins):
    """One norm layer at two places."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(logits, embedding)."""
        embedding = self.norm1(self.mix(self.norm1(self.conv(x)).relu())).mean(dim=(2, 3))
        return self.head(embedding), embedding


class Inexportable(Twins):
    """Uses an operator that ONNX does not have."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(logits, embedding)."""
        logits, embedding = super().forward(x)
        return logits + torch.special.bessel_j0(logits), embedding


class NotFinite(Twins):
    """A running mean of NaN."""

    def __init__(self) -> None:
        super().__init__()
        assert self.norm1.running_mean is not None
        self.norm1.running_mean.fill_(float("nan"))


class Overflowing(Twins):
    """Finite weights, infinite logits."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(logits, embedding)."""
        logits, embedding = super().forward(x)
        return logits.abs().add(1000).exp(), embedding


class Scripted(Twins):
    """Holds a TorchScript function, which cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = torch.jit.CompilationUnit("def twice(x):\n    return 2 * x\n").twice


class Lazy(Twins):
    """A norm layer that has not seen its input yet."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LazyBatchNorm2d()


class Grouped(Twins):
    """A GroupNorm among the BatchNorms."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4))


class Instanced(Twins):
    """An InstanceNorm among the BatchNorms."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.Conv2d(4, 4, 1), nn.InstanceNorm2d(4))


class Synchronised(Twins):
    """BatchNorm as it is trained on several machines."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.SyncBatchNorm(4)


class ByShape(Twins):
    """Python control flow on a shape, which the tracer takes for a value and the newer exporter does not."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(logits, embedding)."""
        if x.shape[2] != 28:
            raise ValueError("28 rows are expected")
        return super().forward(x)


class _Handwritten(nn.Module):
    """LayerNorm over the channels of [N, C, H, W] with parameters of its own, in elementary operators."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.linspace(0.5, 1.5, channels))
        self.beta = nn.Parameter(torch.linspace(-1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        spread = torch.sqrt((centred**2).mean(1, keepdim=True) + 1e-5)
        return self.gamma[:, None, None] * (centred / spread) + self.beta[:, None, None]


class Handwritten(Twins):
    """A norm layer that is no module of torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = _Handwritten(4)  # type: ignore[assignment]


class Functional(Twins):
    """A norm without parameters among the BatchNorms."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(logits, embedding)."""
        y = nn.functional.instance_norm(self.norm1(self.conv(x)))
        embedding = self.norm2(self.mix(y.relu())).mean(dim=(2, 3))
        return self.head(embedding), embedding


class WithoutStatistics(Twins):
    """BatchNorm that keeps none."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(4, track_running_stats=False)
