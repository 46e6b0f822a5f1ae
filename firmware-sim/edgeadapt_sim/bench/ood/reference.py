"""The same scores by other means, on the same features: torch in float64, in the form of the papers.

Where a scorer rearranges a formula (RMDS as a discriminant analysis, ViM by the directions that are kept,
fDBD by a matrix of distances), the reference does not. Compared are scorers as fitted, before their tensors
are rounded to travel; scores leave a scorer as float32, so 1e-6 of the largest magnitude is equal.
pytorch-ood is no dependency: it needs torchvision, which has no build for the torch that is used here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
import torch
from torch import Tensor

from edgeadapt.scoring import Outputs, scorer_kind
from edgeadapt.scoring.scorers.rmds import RIDGE
from edgeadapt.scoring.scorers.vim import principal_directions
from edgeadapt_sim.bench.ood.models import Source
from edgeadapt_sim.bench.ood.plan import Cost

_GAMMA = 0.1


@dataclass(frozen=True, slots=True)
class Compared:
    """With what, and how far apart relative to the largest magnitude."""

    against: str
    difference: float

    def beside(self, cost: Cost) -> Cost:
        """The cost with this in it."""
        return msgspec.structs.replace(cost, against=self.against, difference=self.difference)


@dataclass(frozen=True, slots=True)
class _Features:
    """Float64: logits [N, K] and embeddings [N, D] to score; what was fitted on, its labels, and the head."""

    z: Tensor
    f: Tensor
    fit_z: Tensor
    fit_f: Tensor
    labels: Tensor
    weight: Tensor
    bias: Tensor


def compare(name: str, source: Source) -> Compared | None:
    """How far a registered scorer is from its reference; None where there is none."""
    kind = scorer_kind(name)
    if name not in _REFERENCES or kind.needs - source.there:
        return None
    fitted = kind.fit(source.material)
    ours = fitted.score(source.holdout).astype(np.float64)
    theirs = _REFERENCES[name](_features(source)).numpy()
    return Compared("torch", float(np.abs(ours - theirs).max() / np.abs(theirs).max()))


def _features(source: Source) -> _Features:
    def double(outputs: Outputs) -> tuple[Tensor, Tensor]:
        assert outputs.embedding is not None
        return torch.from_numpy(outputs.logits).double(), torch.from_numpy(outputs.embedding).double()

    z, f = double(source.holdout)
    fit_z, fit_f = double(source.fit)
    head = source.head
    weight = torch.zeros(z.shape[1], f.shape[1]) if head is None else torch.from_numpy(head.weight)
    bias = torch.zeros(z.shape[1]) if head is None else torch.from_numpy(head.bias)
    labels = torch.from_numpy(source.fit_labels)
    return _Features(z, f, fit_z, fit_f, labels, weight.double(), bias.double())


def _entropy(given: _Features) -> Tensor:
    log_p = given.z.log_softmax(dim=1)
    return (log_p.exp() * log_p).sum(dim=1)


def _log_odds(given: _Features) -> Tensor:
    """log p / (1 - p) of the largest probability: its order, without the ties of a softmax of 1."""
    return -torch.log(torch.expm1(-given.z.log_softmax(dim=1).max(dim=1).values))


def _gen(given: _Features) -> Tensor:
    p = given.z.softmax(dim=1)
    return -(p.pow(_GAMMA) * (1 - p).pow(_GAMMA)).sum(dim=1)


def _fdbd(given: _Features) -> Tensor:
    mean, scores = given.fit_f.mean(dim=0), []
    for z, f in zip(given.z, given.f, strict=True):
        best = int(z.argmax())
        others = [c for c in range(len(z)) if c != best]
        away = [(z[best] - z[c]) / (given.weight[best] - given.weight[c]).norm() for c in others]
        scores.append(torch.stack(away).mean() / (f - mean).norm())
    return torch.stack(scores)


def _vim(given: _Features) -> Tensor:
    origin = -torch.linalg.pinv(given.weight) @ given.bias
    kept = principal_directions(given.fit_f.shape[1], given.z.shape[1])
    rest = torch.linalg.svd(given.fit_f - origin, full_matrices=True).Vh[kept:].T
    alpha = given.fit_z.max(dim=1).values.mean() / ((given.fit_f - origin) @ rest).norm(dim=1).mean()
    residual: Tensor = ((given.f - origin) @ rest).norm(dim=1)
    score: Tensor = given.z.logsumexp(dim=1) - alpha * residual
    return score


def _rmds(fit: Tensor, f: Tensor, labels: Tensor) -> Tensor:
    """Two full covariances, and a distance for each class."""
    classes = torch.from_numpy(np.unique(labels.numpy()))
    centres = torch.stack([fit[labels == k].mean(dim=0) for k in classes])
    place = torch.searchsorted(classes, labels)
    mean = fit.mean(dim=0)
    inner, outer = fit - centres[place], fit - mean
    ridge = RIDGE * outer.square().sum() / len(fit) / fit.shape[1] * torch.eye(fit.shape[1], dtype=fit.dtype)
    within = torch.linalg.inv(inner.T @ inner / len(fit) + ridge)
    total = torch.linalg.inv(outer.T @ outer / len(fit) + ridge)

    def distance(x: Tensor, precision: Tensor) -> Tensor:
        return ((x @ precision) * x).sum(dim=-1)

    nearest = torch.stack([distance(f - centre, within) for centre in centres]).min(dim=0).values
    score: Tensor = distance(f - mean, total) - nearest
    return score


def _normalised(given: _Features) -> Tensor:
    fit, f = (torch.nn.functional.normalize(part) for part in (given.fit_f, given.f))
    return _rmds(fit, f, given.labels)


_REFERENCES: dict[str, Callable[[_Features], Tensor]] = {
    "abet": lambda given: given.z.logsumexp(dim=1),
    "energy": lambda given: given.z.logsumexp(dim=1),
    "entropy": _entropy,
    "fdbd": _fdbd,
    "gen": _gen,
    "max-softmax": _log_odds,
    "rmds": lambda given: _rmds(given.fit_f, given.f, given.labels),
    "rmds-normalised": _normalised,
    "vim": _vim,
}
