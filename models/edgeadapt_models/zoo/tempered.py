"""A residual network that learns how sure it may be: cosine logits over a learned temperature (AbeT).

    z_k = cos(f, w_k) / T(f),    T(f) = sigmoid(BN(v . f))

after Hsu et al. 2020 (Generalized ODIN, arXiv 2002.11297) and AbeT (arXiv 2401.12129): trained with plain
cross-entropy, a strange input gets a high temperature, and logsumexp(z), the free energy without the factor T
in front, tells known from unknown. Logits leave the network divided already. The temperature is d + 1
numbers applied to the embedding (`LearnedTemperature.folded`), so whoever has the embedding can have it too.

The batch normalisation inside T is no `nn.BatchNorm1d`: no slot is made of it, and nothing that re-estimates
a domain's statistics moves it, because a temperature that follows its inputs would call every domain usual.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeadapt.tensors import FloatArray
from edgeadapt_models.zoo.base import Classifier, InputSpec
from edgeadapt_models.zoo.registry import network
from edgeadapt_models.zoo.residual import ResidualNetwork

_MOMENTUM = 0.1
_EPSILON = 1e-5


class LearnedTemperature(nn.Module):
    """Embeddings float32 [N, D] to temperatures [N, 1] in (0, 1)."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.direction = nn.Linear(width, 1, bias=False)
        self.scale = nn.Parameter(torch.ones(1))
        self.shift = nn.Parameter(torch.zeros(1))
        self.register_buffer("running_mean", torch.zeros(1))
        self.register_buffer("running_var", torch.ones(1))

    def forward(self, embedding: Tensor) -> Tensor:
        if not self.training:
            return torch.sigmoid(functional.linear(embedding, *self.folded()))
        raw = self.direction(embedding)
        mean, var = raw.mean(), raw.var(unbiased=False)
        with torch.no_grad():
            self.running_mean.lerp_(mean.detach().reshape(1).float(), _MOMENTUM)
            self.running_var.lerp_(var.detach().reshape(1).float(), _MOMENTUM)
        return torch.sigmoid((raw - mean) / (var + _EPSILON).sqrt() * self.scale + self.shift)

    def folded(self) -> tuple[Tensor, Tensor]:
        """(weight [1, D], bias [1]) such that T = sigmoid(weight . f + bias) in eval mode."""
        gain = self.scale / (self.running_var + _EPSILON).sqrt()
        return self.direction.weight * gain[:, None], self.shift - self.running_mean * gain


class TemperedResidualNetwork(ResidualNetwork):
    """`ResidualNetwork` with logits cos(f, w_k) / T(f); the head has no bias."""

    def __init__(self, spec: InputSpec, *, stem_width: int, widths: tuple[int, ...]) -> None:
        super().__init__(spec, stem_width=stem_width, widths=widths, blocks_per_stage=1, norm_shortcut=False)
        self.head = nn.Linear(widths[-1], spec.classes, bias=False)
        self.temperature = LearnedTemperature(widths[-1])

    def classify(self, embedding: Tensor) -> Tensor:
        cosine = functional.linear(functional.normalize(embedding), functional.normalize(self.head.weight))
        logits: Tensor = cosine / self.temperature(embedding)
        return logits


def temperatures(network: nn.Module, embedding: FloatArray) -> FloatArray | None:
    """The temperature float32 [N] of embeddings [N, D]; None for a network that learned none."""
    learned = getattr(network, "temperature", None)
    if not isinstance(learned, LearnedTemperature):
        return None
    weight, bias = (part.detach().numpy().astype(np.float64) for part in learned.folded())
    return np.asarray(1.0 / (1.0 + np.exp(-(embedding @ weight[0] + bias))), dtype=np.float32)


@network("resnet8_abet")
def resnet8_abet(spec: InputSpec) -> Classifier:
    """Build an untrained ResNet-8 with a learned temperature; D = 64."""
    return TemperedResidualNetwork(spec, stem_width=16, widths=(16, 32, 64))
