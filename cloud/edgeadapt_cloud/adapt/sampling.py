"""Which uploads are learned from, which stay unseen, and what an unseen one stands for.

Uploads are not a random sample of a device's frames: a device chooses most of them, by the policy
"entropy-band" only where the student's entropy lies in a band, so a figure averaged over them flatters
whatever differs from the student. The audit lane (here "uniform") is the only unbiased view. Frames fall into
two strata, inside and outside the band; the audit lane says how many lie in each, and within a stratum every
upload counts alike (post-stratification).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ENTROPY_BAND = (0.02, 0.4)
"""The selection band as shares of ln K (EATA, Niu et al., ICML 2022)."""
# More of the devices' own choice outside the band than this, and it was not by the band.
_BY_BAND = 0.05


def newest(mask: Tensor, share: float) -> Tensor:
    """Mask bool [N] of the newest `share` of the samples in `mask` (oldest first)."""
    members = mask.nonzero().flatten()
    count = round(len(members) * share)
    kept = torch.zeros_like(mask)
    if count:
        kept[members[-count:]] = True
    return kept


def unseen_mask(uniform: Tensor, *, share_adapt: float, share_uniform: float) -> Tensor:
    """Mask bool [N] of the samples that no strategy sees: the newest of each lane."""
    return newest(~uniform, share_adapt) | newest(uniform, share_uniform)


def uniform_first(uniform: Tensor, count: int, exact: Tensor | None = None) -> Tensor:
    """Indices int64 of at most `count` samples: the newest of the uniform lane, then of the other.

    `exact` bool [N] are those whose pixels are as the device saw them: no statistics from any other.
    """
    exact = torch.ones_like(uniform) if exact is None else exact
    first = (uniform & exact).nonzero().flatten().flip(0)
    second = (~uniform & exact).nonzero().flatten().flip(0)
    return torch.cat([first, second])[:count]


def entropy(probabilities: Tensor) -> Tensor:
    """Entropy in nats, float32 [N], of probabilities [N, K]."""
    return -(probabilities * probabilities.clamp_min(1e-9).log()).sum(dim=1)


def stratum_weights(probabilities: Tensor, uniform: Tensor, unseen: Tensor) -> Tensor:
    """Weights float32 [M] of the M unseen samples, summing to 1.

    Args:
        probabilities: the student's predictions [N, K] on all samples, as the devices scored them.
        uniform: mask bool [N] of the uniform lane.
        unseen: mask bool [N] with M true entries, M >= 1.

    Returns:
        Equal weights when the uniform lane cannot say how large the strata are.
    """
    low, high = (share * math.log(probabilities.shape[1]) for share in ENTROPY_BAND)
    scores = entropy(probabilities)
    inside = (scores > low) & (scores < high)
    chosen = ~uniform
    by_band = float((chosen & ~inside).sum()) <= _BY_BAND * float(chosen.sum())
    strata = (inside, ~inside & uniform if by_band else ~inside)
    weights = torch.zeros(len(uniform))
    lane = int(uniform.sum())
    for stratum in strata:
        counted = int((stratum & unseen).sum())
        expected = float((stratum & uniform).sum()) / lane if lane else 0.0
        if counted:
            weights[stratum & unseen] = expected / counted
    total = float(weights.sum())
    if total <= 0.0:
        return torch.full((int(unseen.sum()),), 1.0 / int(unseen.sum()))
    return weights[unseen] / total


def weighted_mean(values: Tensor, weights: Tensor) -> tuple[float, float]:
    """Mean and its standard error, of float32 [M] under weights [M] that sum to 1.

    The heaviest sample is counted once more with the average square deviation, so that a stratum of a
    few equal values does not look certain.
    """
    mean = float((weights * values).sum())
    squares = (values - mean) ** 2
    variance = float((weights**2 * squares).sum()) + float(weights.max()) ** 2 * float(
        (weights * squares).sum()
    )
    return mean, math.sqrt(variance)
