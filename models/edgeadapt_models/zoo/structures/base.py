"""What every structure has: a spec to build it from, a full and a small size, and lifelike values.

Invariants: ``forward`` takes float32 [N, *shape] and returns ``(logits [N, K], embedding [N, D])``; images
are [N, C, H, W] in [0, 1]; the classifier is the attribute ``head``; there is no control flow on values.
`build` makes values that no exporter can confuse: seeded weights, norm scales and biases that differ from
layer to layer, and statistics measured on `examples`, so that activations keep a sensible size to the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from edgeadapt.errors import ConfigError
from edgeadapt.tensors import FloatArray

_FIT_EXAMPLES = 8


@dataclass(frozen=True, slots=True)
class StructureSpec:
    """How large a network to build.

    Attributes:
        shape: of one input: (C, H, W), or (C, L) for a series.
        classes: K.
        width: factor on every number of channels; 1.0 is the published network.
        depth: factor on the number of blocks of every stage (at least one block stays).

    Raises:
        ConfigError: a size is not positive.
    """

    shape: tuple[int, ...]
    classes: int = 1000
    width: float = 1.0
    depth: float = 1.0

    def __post_init__(self) -> None:
        if min(*self.shape, self.classes) < 1 or min(self.width, self.depth) <= 0:
            raise ConfigError(f"every size of a structure must be positive: {self}")

    def channels(self, published: int, divisor: int = 8) -> int:
        """A published number times `width`, to the nearest multiple of `divisor`, never 10 % less.

        The rounding of the MobileNet papers' reference code.
        """
        scaled = published * self.width
        rounded = max(divisor, int(scaled + divisor / 2) // divisor * divisor)
        return rounded if rounded >= 0.9 * scaled else rounded + divisor

    def blocks(self, published: int) -> int:
        """A published number of blocks times `depth`, at least 1."""
        return max(1, round(published * self.depth))


@dataclass(frozen=True, slots=True)
class Structure:
    """A registered structure.

    Attributes:
        name: such as "mobilenet_v2".
        kind: "image" ([N, C, H, W] in [0, 1]) or "array" (any float32).
        full: the published size.
        small: a size for tests: a few thousand values, milliseconds per input.
        make: builds the bare module with torch's own initial values.
    """

    name: str
    kind: Literal["image", "array"]
    full: StructureSpec
    small: StructureSpec
    make: Callable[[StructureSpec], nn.Module]


def build(structure: Structure, spec: StructureSpec | None = None, *, seed: int = 0) -> nn.Module:
    """The network in eval mode with lifelike values; torch's global generator is untouched.

    Args:
        structure: from `structure(name)`.
        spec: the size; None is the small one.
        seed: of every value.
    """
    chosen = structure.small if spec is None else spec
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = structure.make(chosen)
        _vary_affine(module)
    _fit_statistics(module, torch.from_numpy(examples(structure, chosen, _FIT_EXAMPLES, seed=seed)))
    return module.eval()


def examples(structure: Structure, spec: StructureSpec, count: int, *, seed: int = 0) -> FloatArray:
    """Seeded inputs float32 [count, *shape]: smooth fields with a little noise; images in [0, 1]."""
    rng = np.random.default_rng(seed)
    field = rng.uniform(0.0, 1.0, (count, spec.shape[0], *(5 for _ in spec.shape[1:])))
    for axis, length in enumerate(spec.shape[1:], start=2):
        position = np.linspace(0.0, 4.0, length)
        low = np.minimum(position.astype(int), 3)
        share = (position - low).reshape([-1 if a == axis else 1 for a in range(field.ndim)])
        field = np.take(field, low, axis) * (1 - share) + np.take(field, low + 1, axis) * share
    noisy = field + rng.normal(0.0, 0.05, field.shape)
    values = np.clip(noisy, 0.0, 1.0) if structure.kind == "image" else 4.0 * noisy - 2.0
    return np.ascontiguousarray(values, dtype=np.float32)


def _vary_affine(module: nn.Module) -> None:
    """Give every norm layer a scale around 1 and a bias around 0 of its own."""
    for layer in module.modules():
        if isinstance(layer, _BatchNorm | _InstanceNorm | nn.GroupNorm | nn.LayerNorm):
            if layer.weight is not None:
                nn.init.uniform_(layer.weight, 0.7, 1.3)
            if layer.bias is not None:
                nn.init.normal_(layer.bias, std=0.1)


@torch.no_grad()
def _fit_statistics(module: nn.Module, x: Tensor) -> None:
    """Make BatchNorm's running statistics those of `x`; momentum None is a plain average over batches."""
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    for layer in layers:
        layer.momentum = None
    module.train()(x)
    for layer in layers:
        layer.momentum = 0.1
