"""Fitted scorers as a device has them: through the tensors that ship, and with knots of several origins."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgeadapt.scoring import Outputs, Scorer, conformal, scorer_kind, scorer_names
from edgeadapt.tensors import FloatArray, decode_tensors, encode_tensors
from edgeadapt_sim.bench.ood.models import Source
from edgeadapt_sim.bench.ood.plan import Cost

_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Fitted:
    """One scorer.

    Attributes:
        name: under which it is registered.
        scorer: loaded from its tensors.
        semantic: what its kind says.
        needs: likewise.
        shipped_bytes: of the tensors.
        clean: scores of the source's holdout under the base model.
        knots: of those.
    """

    name: str
    scorer: Scorer
    semantic: bool
    needs: frozenset[str]
    shipped_bytes: int
    clean: FloatArray
    knots: FloatArray


def fit_all(source: Source) -> tuple[Fitted, ...]:
    """Fit every registered scorer whose needs are met."""
    found = []
    for name in scorer_names():
        kind = scorer_kind(name)
        if kind.needs - source.there:
            continue
        tensors = dict(kind.fit(source.material).tensors())
        # A scorer without tensors ships none.
        loaded = kind.load(decode_tensors(encode_tensors(tensors)) if tensors else {})
        clean = loaded.score(source.holdout)
        size = sum(value.nbytes for value in tensors.values())
        found.append(
            Fitted(name, loaded, kind.semantic, frozenset(kind.needs), size, clean, conformal.knots(clean))
        )
    return tuple(found)


def cost(network: str, fitted: Fitted, outputs: Outputs, round_s: float) -> Cost:
    """CPU time of the calling thread, the least of several rounds: other work on the machine only adds."""
    one, many = rows(outputs, slice(0, 1)), rows(outputs, slice(0, 256))
    return Cost(
        network,
        fitted.name,
        _seconds(lambda: fitted.scorer.score(one), round_s),
        _seconds(lambda: fitted.scorer.score(many), round_s) / len(many.logits),
        fitted.shipped_bytes,
    )


def rows(outputs: Outputs, part: slice) -> Outputs:
    """Some frames of outputs."""

    def cut(values: FloatArray | None) -> FloatArray | None:
        return None if values is None else np.ascontiguousarray(values[part])

    return Outputs(
        np.ascontiguousarray(outputs.logits[part]),
        cut(outputs.embedding),
        cut(outputs.style),
        cut(outputs.temperature),
    )


def _seconds(run: Callable[[], object], round_s: float) -> float:
    run()
    began = time.thread_time()
    run()
    times = max(1, round(round_s / max(time.thread_time() - began, 1e-7)))
    best = float("inf")
    for _ in range(_ROUNDS):
        began = time.thread_time()
        for _ in range(times):
            run()
        best = min(best, (time.thread_time() - began) / times)
    return best
