"""Test-time batch renormalisation in place of BatchNorm (TTN/TBR: Zhao et al., ICML 2023).

    y = scale * ((x - mu_B) / sigma_B * r + d) + bias,   r = sigma_B / sigma,   d = (mu_B - mu) / sigma

with mu, sigma the running statistics and r, d without gradient: the forward value is that of the running
statistics, the gradient that of batch statistics. The first batch initialises the running statistics,
every later one moves them by `momentum`. Passes without gradient do not move them.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class BatchRenorm(nn.Module):
    """Drop-in for BatchNorm on float32 [N, C, ...]; a scale or bias that it lacks starts at 1 or 0."""

    running_mean: Tensor
    running_var: Tensor
    started: Tensor

    def __init__(self, norm: _BatchNorm, momentum: float) -> None:
        super().__init__()
        weight: Tensor | None = norm.weight
        bias: Tensor | None = norm.bias
        self.weight = nn.Parameter(
            torch.ones(norm.num_features) if weight is None else weight.detach().clone()
        )
        self.bias = nn.Parameter(torch.zeros(norm.num_features) if bias is None else bias.detach().clone())
        self.epsilon = norm.eps
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(norm.num_features))
        self.register_buffer("running_var", torch.ones(norm.num_features))
        self.register_buffer("started", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise by the running statistics, with the gradient of batch statistics."""
        var, mean = torch.var_mean(x, dim=(0, *range(2, x.ndim)), unbiased=False)
        if torch.is_grad_enabled() or not bool(self.started):
            self._follow(mean.detach(), var.detach())
        deviation = (var + self.epsilon).sqrt()
        running = (self.running_var + self.epsilon).sqrt()
        r = deviation.detach() / running
        d = (mean.detach() - self.running_mean) / running
        scale = (r / deviation) * self.weight
        shift = (d - r * mean / deviation) * self.weight + self.bias
        along_channels = (1, -1, *([1] * (x.ndim - 2)))
        return x * scale.view(along_channels) + shift.view(along_channels)

    def _follow(self, mean: Tensor, var: Tensor) -> None:
        share = self.momentum if bool(self.started) else 1.0
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(var, share)
        self.started.fill_(1.0)


def renormalised(network: nn.Module, momentum: float) -> nn.Module:
    """A copy of `network`, in eval mode, with every BatchNorm replaced."""
    result = copy.deepcopy(network).eval()
    for name, module in list(result.named_modules()):
        if isinstance(module, _BatchNorm):
            parent, _, attribute = name.rpartition(".")
            setattr(result.get_submodule(parent), attribute, BatchRenorm(module, momentum))
    return result
