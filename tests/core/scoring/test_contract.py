"""What every registered scorer keeps to. A new one is tested here by being registered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgeadapt.errors import WireError
from edgeadapt.scoring import (
    STRANGEST,
    Outputs,
    Scorer,
    ScorerKind,
    Source,
    conformal,
    scorer_kind,
    scorer_names,
)
from edgeadapt.tensors import FloatArray, decode_tensors, encode_tensors
from tests.core.scoring.synthetic import CLASSES, WIDTH, familiar, rows, strange

_SOURCE = familiar(600, 0)
_FRAMES = familiar(40, 1).outputs


@pytest.fixture(params=scorer_names())
def kind(request: pytest.FixtureRequest) -> ScorerKind:
    """Each of them."""
    return scorer_kind(request.param)


def _travelled(kind: ScorerKind, source: Source = _SOURCE) -> Scorer:
    """Fitted, stored and loaded, as on a device."""
    tensors = dict(kind.fit(source).tensors())
    return kind.load(decode_tensors(encode_tensors(tensors)) if tensors else {})


def _with(outputs: Outputs, name: str, value: FloatArray) -> Outputs:
    parts = {part: getattr(outputs, part) for part in ("logits", "embedding", "style", "temperature")}
    return Outputs(**(parts | {name: value}))


def test_known_frames_score_higher_than_strange_ones(kind: ScorerKind) -> None:
    scorer = _travelled(kind)
    known, odd = scorer.score(familiar(400, 2).outputs), scorer.score(strange(400, 3))
    higher = (known[:, None] > odd[None, :]).mean() + 0.5 * (known[:, None] == odd[None, :]).mean()
    assert higher > 0.8


def test_scores_are_float32_and_finite(kind: ScorerKind) -> None:
    scores = _travelled(kind).score(_FRAMES)
    assert scores.dtype == np.float32
    assert scores.shape == (40,)
    assert np.isfinite(scores).all()
    assert (scores > STRANGEST).all()


def test_what_travels_scores_as_what_was_fitted(kind: ScorerKind) -> None:
    fitted, loaded = kind.fit(_SOURCE), _travelled(kind)
    before, after = fitted.score(_FRAMES), loaded.score(_FRAMES)
    assert np.abs(before - after).max() <= 0.02 * max(float(before.std()), 1e-6)
    again, tensors = dict(loaded.tensors()), dict(fitted.tensors())
    assert again.keys() == tensors.keys()
    for name, value in tensors.items():
        assert value.dtype in (np.float16, np.float32)
        assert again[name].dtype == value.dtype
        np.testing.assert_allclose(again[name], value, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_the_strangest_and_disturb_no_other(
    kind: ScorerKind, bad: float
) -> None:
    scorer = _travelled(kind)
    clean = scorer.score(_FRAMES)
    for name in ("logits", "embedding", "style", "temperature"):
        if name not in kind.needs:
            continue
        value = getattr(_FRAMES, name).copy()
        value[[3, 17]] = bad
        if value.ndim == 2:
            value[3, 1:] = 0.0  # one value is enough
        found = scorer.score(_with(_FRAMES, name, value))
        assert (found[[3, 17]] == STRANGEST).all(), name
        kept = np.setdiff1d(np.arange(40), [3, 17])
        np.testing.assert_allclose(found[kept], clean[kept], rtol=1e-6, atol=1e-6)
        alone = scorer.score(rows(_with(_FRAMES, name, value), slice(3, 4)))
        assert alone.tolist() == [STRANGEST]


def test_the_largest_finite_values_score(kind: ScorerKind) -> None:
    scorer = _travelled(kind)
    most = float(np.finfo(np.float32).max)
    for name in ("logits", "embedding", "style"):
        if name in kind.needs:
            value = getattr(_FRAMES, name).copy()
            value[0], value[1], value[2, 0] = most, -most, most
            found = scorer.score(_with(_FRAMES, name, value))
            assert np.isfinite(found).all()


def test_a_batch_of_one_scores_as_in_a_batch_of_many(kind: ScorerKind) -> None:
    scorer = _travelled(kind)
    many = scorer.score(_FRAMES)
    one = np.concatenate([scorer.score(rows(_FRAMES, slice(i, i + 1))) for i in range(40)])
    np.testing.assert_allclose(one, many, rtol=1e-6, atol=1e-6)


def test_the_order_of_frames_does_not_matter(kind: ScorerKind) -> None:
    scorer = _travelled(kind)
    order = np.random.default_rng(5).permutation(40)
    np.testing.assert_allclose(
        scorer.score(rows(_FRAMES, order)), scorer.score(_FRAMES)[order], rtol=1e-6, atol=1e-6
    )


def test_an_empty_batch(kind: ScorerKind) -> None:
    assert _travelled(kind).score(rows(_FRAMES, slice(0, 0))).shape == (0,)


def test_the_fit_is_repeatable(kind: ScorerKind) -> None:
    first, second = dict(kind.fit(_SOURCE).tensors()), dict(kind.fit(_SOURCE).tensors())
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


def _constant(source: Source) -> Source:
    outputs = source.outputs
    count = len(outputs.logits)
    return Source(rows(outputs, np.zeros(count, dtype=np.intp)), source.labels, source.head)


def _one_class(source: Source) -> Source:
    kept = np.flatnonzero(source.labels == 2)
    return Source(rows(source.outputs, kept), source.labels[kept], source.head)


def _dead_channels(source: Source) -> Source:
    outputs = source.outputs
    assert outputs.embedding is not None
    assert outputs.style is not None
    embedding, style = outputs.embedding.copy(), outputs.style.copy()
    embedding[:, [0, 5, 6]] = 0.0
    embedding[:, 7] = 2.5
    style[:, 2] = 0.0
    changed = _with(_with(outputs, "embedding", embedding), "style", style)
    return Source(changed, source.labels, source.head)


def _one_frame_a_class(source: Source) -> Source:
    kept = np.array([np.flatnonzero(source.labels == k)[0] for k in range(CLASSES)])
    return Source(rows(source.outputs, kept), source.labels[kept], source.head)


def _one_frame(source: Source) -> Source:
    return Source(rows(source.outputs, slice(0, 1)), source.labels[:1], source.head)


def _zeros(source: Source) -> Source:
    outputs = source.outputs
    nothing = {
        name: np.zeros_like(getattr(outputs, name))
        for name in ("logits", "embedding", "style", "temperature")
    }
    return Source(Outputs(**nothing), source.labels, source.head)


@pytest.mark.parametrize(
    "poor",
    [_constant, _one_class, _dead_channels, _one_frame_a_class, _one_frame, _zeros],
    ids=lambda f: f.__name__,
)
def test_poor_source_data_gives_defined_scores(kind: ScorerKind, poor: Any) -> None:
    source = poor(_SOURCE)
    scorer = _travelled(kind, source)
    for outputs in (_FRAMES, source.outputs, strange(20, 6)):
        assert np.isfinite(scorer.score(outputs)).all()
    knots = conformal.knots(scorer.score(_FRAMES))
    assert (conformal.p_values(scorer.score(_FRAMES), knots) > 0).all()


def test_a_model_of_one_class(kind: ScorerKind) -> None:
    source = familiar(60, 7, classes=1)
    assert np.isfinite(_travelled(kind, source).score(source.outputs)).all()


def _broken(tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, dict[str, npt.NDArray[Any]]]:
    """The same tensors with one thing wrong each."""
    found: dict[str, dict[str, npt.NDArray[Any]]] = {"unknown": {**tensors, "more": np.ones(1, np.float32)}}
    for name, value in tensors.items():
        found[f"{name} missing"] = {n: v for n, v in tensors.items() if n != name}
        found[f"{name} of another type"] = {**tensors, name: value.astype(np.int32)}
        found[f"{name} of another rank"] = {**tensors, name: value[None]}
        found[f"{name} empty"] = {**tensors, name: value[:0]}
    return found


def test_tensors_that_are_not_its_own_are_a_wire_error(kind: ScorerKind) -> None:
    for what, tensors in _broken(dict(kind.fit(_SOURCE).tensors())).items():
        with pytest.raises(WireError, match=kind.name):
            pytest.fail(f"{what}: {kind.load(tensors)}")


def test_what_ships_is_kilobytes(kind: ScorerKind) -> None:
    size = sum(value.nbytes for value in kind.fit(_SOURCE).tensors().values())
    assert size <= 64 * WIDTH * CLASSES * 2


def test_a_kind_says_what_it_is(kind: ScorerKind) -> None:
    assert kind.needs <= {"logits", "embedding", "head", "style", "temperature"}
    assert kind.needs
    assert isinstance(kind.semantic, bool)
    assert "." not in kind.name
