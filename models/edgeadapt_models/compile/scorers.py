"""Fit scorers at compile time, and find the knots of their p-values.

Knots come from frames that no scorer was fitted on, and, where there are such, that the model was not trained
on: a model is more confident on its own training images, and knots of those would call too many new frames
strange. The zoo's own networks have a holdout split. Of a person's calibration data one half, drawn with a
fixed seed, is kept from the fit; data of their own may be given in its place.

Not here: which scores there are (`edgeadapt.scoring`), and running the model (`calibrate`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgeadapt import scoring
from edgeadapt.bundle import Slot, SlotValues
from edgeadapt.scoring import Head, Outputs, conformal
from edgeadapt.scoring.base import Need
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.calibrate import Fitted, Source
from edgeadapt_models.compile.source.frames import Frames

HEAD_TOLERANCE = 1e-3
"""A head is one when it gives the logits to within this share of their largest magnitude."""
FEW_FRAMES = 200
"""Knots of fewer frames are too coarse for a threshold of 1 %."""
_MANY_CLASSES = 128
_HALVES_SEED = 0

Origin = Literal["split", "given", "half"]
_ORIGINS: dict[Origin, str] = {
    "split": "the holdout split, which the model was not trained on",
    "given": "the holdout data given",
    "half": "the half of the calibration data that no scorer was fitted on",
}


@dataclass(frozen=True, slots=True)
class ScorerRequest:
    """What a person asks for.

    Attributes:
        names: of scorers to fit; empty for `default_scorers`. Those that the model has not what they need for
            are left out, with a note.
        holdout: frames for the knots; None: half of the calibration frames, which is then not fitted on.
        origin: of the holdout, for people.
    """

    names: tuple[str, ...] = ()
    holdout: Frames | None = None
    origin: Origin = "half"


def default_scorers(classes: int, *, head: bool) -> tuple[str, ...]:
    """Two scorers at most, which see different things, in kilobytes and tens of microseconds a frame.

    fDBD and ViM see as much without a prototype mixture as with it (docs/adr/0014); without a linear head
    neither can be had. With many classes the tensors of fDBD and of a mixture would be megabytes.
    """
    if classes > _MANY_CLASSES:
        return ("energy", "vim") if head else ("energy",)
    return ("fdbd", "vim") if head else ("energy", "prototype-mixture")


def fit_scorers(
    source: Source,
    labels: npt.NDArray[np.integer] | None,
    holdout: Source | None,
    head: Head | None,
    head_origin: str,
    request: ScorerRequest,
) -> Fitted:
    """Fit scorers and find their knots.

    Args:
        source: what the model says of the calibration data.
        labels: [N] classes of it; None when they are not known.
        holdout: what it says of the request's holdout; None when that has none.
        head, head_origin: as `linear_head` found it.
        request: which scorers.

    Raises:
        ConfigError: an unknown scorer, or a broken one of another package.
    """
    known = source.logits.argmax(axis=1) if labels is None else labels
    fit, rest = np.arange(len(known)), None
    if holdout is None:
        fit, rest = _halves(len(known))
    calibration = _outputs(source if holdout is None else holdout, rest)
    learned = scoring.Source(_outputs(source, fit), known[fit].astype(np.int64), head)
    names = request.names or default_scorers(source.logits.shape[1], head=head is not None)
    tensors: dict[str, Mapping[str, npt.NDArray[Any]]] = {}
    knots: dict[str, FloatArray] = {}
    left_out: list[str] = []
    for name in dict.fromkeys(names):
        kind = scoring.scorer_kind(name)
        missing = sorted(kind.needs - _present(learned))
        if missing:
            left_out.append(f"scorer {name} is left out: the model has no {' and no '.join(missing)}")
            continue
        # Scored as it will be loaded: tensors may have been rounded to float16.
        tensors[name] = dict(kind.fit(learned).tensors())
        knots[name] = conformal.knots(kind.load(tensors[name]).score(calibration))
    told = _told(tensors, knots, len(calibration.logits), head_origin, request.origin) if knots else ()
    return Fitted({name: part for name, part in tensors.items() if part}, knots, (*told, *left_out))


def _told(
    tensors: Mapping[str, Mapping[str, npt.NDArray[Any]]],
    knots: Mapping[str, FloatArray],
    count: int,
    head_origin: str,
    origin: Origin,
) -> tuple[str, ...]:
    """What was fitted, and on what p-values rest: a line for people, and one more where frames are few."""
    size = sum(value.nbytes for part in (*tensors.values(), knots) for value in part.values())
    line = (
        f"scorers: {', '.join(sorted(knots))} ({size:,} bytes; linear head: {head_origin}); p-values from "
        f"{count} frames: {_ORIGINS[origin]}"
    )
    if count >= FEW_FRAMES:
        return (line,)
    return line, f"no frame can get a p-value below {1 / (count + 1):.1%}: bring more source data"


def fewest_frames(width: int) -> int:
    """Source frames that it takes to look for the head of embeddings [N, width]: half fit, half test."""
    return 2 * (width + 1)


def linear_head(slots: Sequence[Slot], base: SlotValues, source: Source) -> tuple[Head | None, str]:
    """(the linear head, where it is from or why there is none): the model's own, else least squares.

    Args:
        slots: of the bundle; a model whose last step is linear has slots for it.
        base: their values.
        source: logits and embedding that the head must explain to within `HEAD_TOLERANCE`.
    """
    found = {slot.kind: base[slot.name] for slot in slots if slot.kind in ("head_weight", "head_bias")}
    logits, embedding = source.logits.astype(np.float64), source.embedding.astype(np.float64)
    allowed = HEAD_TOLERANCE * max(float(np.abs(logits).max()), 1e-12)
    if len(found) == 2:
        head = Head(found["head_weight"], found["head_bias"])
        if head.weight.shape[1] == embedding.shape[1]:
            wrong = np.abs(embedding @ head.weight.T.astype(np.float64) + head.bias - logits).max()
            if wrong <= allowed:
                return head, "the model's own"
    design = np.concatenate([embedding, np.ones((len(embedding), 1))], axis=1)
    if len(design) < fewest_frames(embedding.shape[1]):
        few = f"{len(design)} source frames are too few to find one: {fewest_frames(embedding.shape[1])} are"
        return None, f"unknown, as {few} needed"
    # Of every other frame, and held against all: with few frames a solution may fit them and be no head.
    solution = np.linalg.lstsq(design[::2], logits[::2], rcond=None)[0]
    wrong = np.abs(design @ solution - logits).max()
    if wrong > allowed:
        return None, "none, as the logits are no linear function of the embedding"
    weight, bias = solution[:-1].T.astype(np.float32), solution[-1].astype(np.float32)
    return Head(weight, bias), "fitted by least squares"


def _halves(count: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """(frames to fit on, frames for the knots) of `count` >= 2; always the same ones, in order."""
    order = np.random.default_rng(_HALVES_SEED).permutation(count)
    return np.sort(order[: count // 2]), np.sort(order[count // 2 :])


def _outputs(source: Source, rows: npt.NDArray[np.intp] | None) -> Outputs:
    part = slice(None) if rows is None else rows
    return Outputs(source.logits[part], source.embedding[part], source.features[part])


def _present(source: scoring.Source) -> frozenset[Need]:
    outputs = source.outputs
    there: dict[Need, object] = {
        "logits": outputs.logits,
        "embedding": outputs.embedding,
        "style": outputs.style,
        "temperature": outputs.temperature,
        "head": source.head,
    }
    return frozenset(need for need, value in there.items() if value is not None)
