"""Scorers against the formulas of their papers, written out in torch and the long way round.

Where pytorch-ood has the method, the reference here follows its conventions, with the sign turned (there,
larger is stranger). It is no dependency: it imports torchvision, whose wheels on the package index want the
CUDA build of torch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from edgeadapt.scoring import Outputs, Source, scorer_kind
from edgeadapt.scoring.scorers.rmds import RIDGE
from edgeadapt.scoring.scorers.vim import Vim, principal_directions
from tests.core.scoring.synthetic import WIDTH, familiar, strange

_SOURCE = familiar(900, 0)
_FRAMES = (familiar(200, 1).outputs, strange(200, 2))


def _tensor(value: object) -> Tensor:
    assert isinstance(value, np.ndarray)
    return torch.from_numpy(value).double()


def _max_softmax(outputs: Outputs) -> Tensor:
    p = _tensor(outputs.logits).softmax(dim=1).max(dim=1).values
    return torch.logit(p)


def _entropy(outputs: Outputs) -> Tensor:
    log_p = _tensor(outputs.logits).log_softmax(dim=1)
    return (log_p.exp() * log_p).sum(dim=1)


def _margin(outputs: Outputs) -> Tensor:
    top = _tensor(outputs.logits).topk(2, dim=1).values
    return top[:, 0] - top[:, 1]


def _energy(outputs: Outputs) -> Tensor:
    return torch.logsumexp(_tensor(outputs.logits), dim=1)


def _gen(outputs: Outputs) -> Tensor:
    p = _tensor(outputs.logits).softmax(dim=1)
    return -(p.pow(0.1) * (1 - p).pow(0.1)).sum(dim=1)


def _fdbd(outputs: Outputs) -> Tensor:
    assert _SOURCE.head is not None
    weight, logits = _tensor(_SOURCE.head.weight), _tensor(outputs.logits)
    embedding, mean = _tensor(outputs.embedding), _tensor(_SOURCE.outputs.embedding).mean(dim=0)
    found = []
    for z, f in zip(logits, embedding, strict=True):
        y = int(z.argmax())
        others = [c for c in range(len(z)) if c != y]
        distances = [(z[y] - z[c]) / torch.linalg.norm(weight[y] - weight[c]) for c in others]
        found.append(torch.stack(distances).mean() / torch.linalg.norm(f - mean))
    return torch.stack(found)


def _vim(outputs: Outputs) -> Tensor:
    assert _SOURCE.head is not None
    weight, bias = _tensor(_SOURCE.head.weight), _tensor(_SOURCE.head.bias)
    origin = -(torch.linalg.pinv(weight) @ bias)
    known = _tensor(_SOURCE.outputs.embedding) - origin
    kept = principal_directions(WIDTH, len(weight))
    vectors = torch.linalg.eigh(known.T @ known / len(known)).eigenvectors
    remaining = vectors[:, : WIDTH - kept]
    largest = _tensor(_SOURCE.outputs.logits).max(dim=1).values.mean()
    alpha = largest / (known @ remaining).norm(dim=1).mean()
    residual = ((_tensor(outputs.embedding) - origin) @ remaining).norm(dim=1)
    score: Tensor = _energy(outputs) - alpha * residual
    return score


def _rmds(outputs: Outputs, *, normalise: bool = False) -> Tensor:
    """Both Mahalanobis distances in full, with inverses of whole covariances."""
    known, f = _tensor(_SOURCE.outputs.embedding), _tensor(outputs.embedding)
    if normalise:
        known, f = (torch.nn.functional.normalize(part, dim=1) for part in (known, f))
    labels = torch.from_numpy(_SOURCE.labels)
    mean = known.mean(dim=0)
    means = torch.stack([known[labels == k].mean(dim=0) for k in range(int(labels.max()) + 1)])
    within = (known - means[labels]).T @ (known - means[labels]) / len(known)
    total = (known - mean).T @ (known - mean) / len(known)
    ridge = RIDGE * total.trace() / len(mean) * torch.eye(len(mean))
    inner, outer = torch.linalg.inv(within + ridge), torch.linalg.inv(total + ridge)
    to_class = torch.stack([(((f - m) @ inner) * (f - m)).sum(dim=1) for m in means])
    relative: Tensor = to_class - (((f - mean) @ outer) * (f - mean)).sum(dim=1)
    return -relative.min(dim=0).values


def _style(outputs: Outputs) -> Tensor:
    known, e = _tensor(_SOURCE.outputs.style), _tensor(outputs.style)
    return -((e - known.mean(dim=0)) ** 2 / known.var(dim=0, unbiased=False)).mean(dim=1)


def _abet(outputs: Outputs) -> Tensor:
    temperature = _tensor(outputs.temperature)[:, None]
    cosine = _tensor(outputs.logits) * temperature
    return torch.logsumexp(cosine / temperature, dim=1)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("max-softmax", _max_softmax),
        ("entropy", _entropy),
        ("margin", _margin),
        ("energy", _energy),
        ("gen", _gen),
        ("fdbd", _fdbd),
        ("vim", _vim),
        ("rmds", _rmds),
        ("rmds-normalised", lambda outputs: _rmds(outputs, normalise=True)),
        ("style", _style),
        ("abet", _abet),
    ],
)
def test_scores_are_those_of_the_papers(name: str, reference: Callable[[Outputs], Tensor]) -> None:
    scorer = scorer_kind(name).fit(_SOURCE)
    for outputs in _FRAMES:
        expected = reference(outputs).numpy()
        scale = np.abs(expected).max()
        np.testing.assert_allclose(scorer.score(outputs), expected, rtol=1e-6, atol=1e-6 * scale)


def test_gen_keeps_the_hundred_likeliest_of_many_classes() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (20, 250)).astype(np.float32)
    p = _tensor(logits).softmax(dim=1).topk(100, dim=1).values
    expected = -(p.pow(0.1) * (1 - p).pow(0.1)).sum(dim=1)
    scorer = scorer_kind("gen").fit(_SOURCE)
    np.testing.assert_allclose(scorer.score(Outputs(logits)), expected.numpy(), rtol=1e-6)


@pytest.mark.parametrize("principal", [2, 6, 12, 18, 22])
def test_vim_is_the_same_by_what_is_principal_and_by_what_remains(principal: int) -> None:
    fitted = Vim().fit_with(_SOURCE, principal)
    fewer = min(principal, WIDTH - principal)
    assert fitted.directions.shape == (WIDTH, fewer)
    assert _SOURCE.outputs.embedding is not None
    away = _SOURCE.outputs.embedding.astype(np.float64) - fitted.origin
    vectors = np.linalg.eigh(away.T @ away)[1]
    expected = np.linalg.norm(away @ vectors[:, : WIDTH - principal], axis=1)
    np.testing.assert_allclose(fitted.residual(away + fitted.origin), expected, rtol=1e-6)


def test_rmds_travels_in_fewer_directions_than_classes() -> None:
    tensors = scorer_kind("rmds").fit(_SOURCE).tensors()
    assert tensors["directions"].shape == (WIDTH, 4)
    assert tensors["means"].shape == (5, 4)


def test_a_mixture_of_prototypes_tells_two_clusters_of_one_class_from_what_lies_between() -> None:
    rng = np.random.default_rng(3)
    poles = np.zeros((2, WIDTH), np.float32)
    poles[0, 0] = poles[1, 1] = 5.0
    embedding = (poles[np.arange(400) % 2] + 0.2 * rng.standard_normal((400, WIDTH))).astype(np.float32)
    logits = np.zeros((400, 2), np.float32)
    source = Source(Outputs(logits, embedding), np.zeros(400, np.int64))
    between = np.repeat(poles.mean(axis=0)[None], 3, axis=0)
    scorer = scorer_kind("prototype-mixture").fit(source)
    inside = scorer.score(Outputs(logits, embedding))
    assert scorer.score(Outputs(logits[:3], between)).max() < inside.min()
    # One prototype, the class mean, would say the opposite.
    assert scorer_kind("hdc").fit(source).score(Outputs(logits[:3], between)).min() > 0.9
