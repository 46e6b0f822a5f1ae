"""The common shape of every network: its input, its two outputs and its head.

Invariants: ``forward`` takes float32 [N, C, H, W] in [0, 1] and returns ``(logits [N, K],
embedding [N, D])``; the per-channel normalisation of the input is the first layer (`Normalize`, with buffers,
so that it travels with the weights); the classifier is the attribute ``head``. There is no Python control
flow on tensor values, so every network can be exported. Training, loading and the names of the networks are
not here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgeadapt.errors import ConfigError


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a network must be built for.

    ``mean`` and ``std`` are per channel, on the [0, 1] scale; left empty they are 0 and 1, to be filled by a
    state dict.

    Raises:
        ConfigError: a size is not positive, or ``mean``/``std`` do not have one entry per channel.
    """

    channels: int
    height: int
    width: int
    classes: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if min(self.channels, self.height, self.width, self.classes) < 1:
            raise ConfigError(f"every size of a network's input must be at least 1: {self}")
        for moments in (self.mean, self.std):
            if moments and len(moments) != self.channels:
                raise ConfigError(f"mean and std need one entry for each of {self.channels} channels: {self}")
        if any(value <= 0 for value in self.std):
            raise ConfigError(f"std must be positive: {self.std}")


class Normalize(nn.Module):
    """``(x - mean) / std`` per channel, float32 [N, C, H, W] to the same shape."""

    mean: Tensor
    std: Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        mean = spec.mean or (0.0,) * spec.channels
        std = spec.std or (1.0,) * spec.channels
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class Classifier(nn.Module):
    """Base of all networks; a subclass writes `embed` and sets ``head``."""

    head: nn.Linear

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.normalize = Normalize(spec)

    def embed(self, x: Tensor) -> Tensor:
        """Normalised images float32 [N, C, H, W] to embeddings [N, D]."""
        raise NotImplementedError

    def classify(self, embedding: Tensor) -> Tensor:
        """Embeddings [N, D] to logits [N, K]; the linear head, where a network has nothing else there."""
        logits: Tensor = self.head(embedding)
        return logits

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images float32 [N, C, H, W] in [0, 1] to ``(logits [N, K], embedding [N, D])``."""
        embedding = self.embed(self.normalize(x))
        return self.classify(embedding), embedding


def parameter_count(network: nn.Module) -> int:
    """Number of trainable values (buffers such as running statistics are not counted)."""
    return sum(parameter.numel() for parameter in network.parameters())
