"""Means over seeds, and what they say. Spread is the sample standard deviation over seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np

from edgeadapt_sim.bench.ood.plan import KNOTS, NOMINAL, Cost, Row, Spectrum, Study, StyleRow

T = TypeVar("T", bound=msgspec.Struct)

KEPT = 0.02
"""How far the realised rate of false positives may be from the nominal one, on the mean over domains."""
SEEN = 0.95
BEST_COMBINATIONS = 12


class Line(msgspec.Struct, frozen=True):
    """Full-spectrum figures, means over seeds; as in `Spectrum`."""

    network: str
    state: str
    name: str
    values: str
    auroc: float
    spread: float
    near: float
    far: float
    fpr95: float
    caught: tuple[tuple[float, float, float], ...]


class Claim(msgspec.Struct, frozen=True):
    """A sentence, whether it holds, and its figures."""

    text: str
    holds: bool
    figures: str


class Summary(msgspec.Struct, frozen=True):
    """What is kept of a study: means over seeds.

    Attributes:
        far_sets: what "far" is made of.
        lines: single scorers, full-spectrum.
        combinations: the best few of each model, state and kind of p-values, full-spectrum.
        rows: by network, domain, state and scorer; their seed is -1.
        style: the window test; likewise.
        costs: of every scorer.
    """

    far_sets: tuple[str, ...]
    lines: tuple[Line, ...]
    combinations: tuple[Line, ...]
    rows: tuple[Row, ...]
    style: tuple[StyleRow, ...]
    costs: tuple[Cost, ...]


def summarise(study: Study) -> Summary:
    """Average over seeds; of combinations the best stay."""
    lines = _lines(study.spectra)
    joined = [line for line in lines if "+" in line.name]
    best: list[Line] = []
    for key in dict.fromkeys((line.network, line.state, line.values) for line in joined):
        group = [line for line in joined if (line.network, line.state, line.values) == key]
        best += sorted(group, key=lambda line: -line.auroc)[:BEST_COMBINATIONS]
    return Summary(
        study.far_sets,
        tuple(line for line in lines if "+" not in line.name),
        tuple(best),
        tuple(_averaged(study.rows, lambda r: (r.network, r.domain, r.severity, r.state, r.scorer))),
        tuple(_averaged(study.style, lambda r: (r.domain, r.severity))),
        study.costs,
    )


def claims(summary: Summary) -> tuple[Claim, ...]:
    """About the first network."""
    network = summary.lines[0].network
    singles = [line for line in summary.lines if line.network == network]
    before, raw = (_best(singles, state, "scores") for state in ("base", "patched"))
    after = _best(singles, "patched", "uploads")
    shifted = shifted_rows(summary, network)
    rates = {kind: false_rate(shifted, after.name, "patched", kind) for kind in KNOTS}
    highest = max(row.severity for row in summary.style)
    seen = [row.window for row in summary.style if row.severity == highest]
    found = [
        Claim(
            "before adaptation, no score tells unknown from known across domains (area below 0.7)",
            before.auroc < 0.7,
            f"the best is {before.name}, {before.auroc:.3f}",
        ),
        Claim(
            "a patch makes them tell it better, and its own knots still better",
            before.auroc < raw.auroc < after.auroc,
            f"the best raw score {before.auroc:.3f}, patched {raw.auroc:.3f} ({raw.name}), "
            f"as p-values {after.auroc:.3f} ({after.name})",
        ),
        Claim(
            f"knots from uploads keep the nominal {NOMINAL:.0%} on shifted known classes",
            abs(rates["uploads"] - NOMINAL) <= KEPT,
            ", ".join(f"{kind} {100 * rate:.1f} %" for kind, rate in rates.items()),
        ),
        Claim(
            f"windows of style see {SEEN:.0%} of shifted windows",
            float(np.mean(seen)) >= SEEN,
            f"{100 * float(np.mean(seen)):.1f} % on the mean, {100 * min(seen):.1f} % at least",
        ),
    ]
    joined = [line for line in summary.combinations if line.network == network]
    best_joined = max(
        (line for line in joined if _is(line, "patched", "known")), key=lambda line: line.auroc, default=None
    )
    if best_joined is not None:
        single = _best(singles, "patched", "known")
        found.append(
            Claim(
                "the best combination of p-values is more than 1 point above the best single score",
                best_joined.auroc > single.auroc + 0.01,
                f"{best_joined.name} {best_joined.auroc:.3f}, {single.name} {single.auroc:.3f}",
            )
        )
    return tuple(found)


def shifted_rows(summary: Summary, network: str) -> list[Row]:
    """Of corruptions at the highest severity."""
    highest = max(row.severity for row in summary.rows)
    return [row for row in summary.rows if row.network == network and row.severity == highest]


def false_rate(rows: Iterable[Row], scorer: str, state: str, kind: str) -> float:
    """Mean over rows of the share of known frames below the nominal p-value, by a kind of knots."""
    chosen = [row for row in rows if row.scorer == scorer and row.state == state]
    return float(np.mean([at.known for row in chosen for at in row.at if at.knots == kind]))


def _is(line: Line, state: str, values: str) -> bool:
    return line.state == state and line.values == values


def _best(lines: Sequence[Line], state: str, values: str) -> Line:
    return max((line for line in lines if _is(line, state, values)), key=lambda line: line.auroc)


def _lines(spectra: Sequence[Spectrum]) -> list[Line]:
    groups: dict[tuple[str, str, str, str], list[Spectrum]] = {}
    for found in spectra:
        groups.setdefault((found.network, found.state, found.name, found.values), []).append(found)
    return [
        Line(
            *key,
            auroc=_mean(one.auroc for one in group),
            spread=round(float(np.std([one.auroc for one in group], ddof=1)), 4) if len(group) > 1 else 0.0,
            near=_mean(one.near for one in group),
            far=_mean(one.far for one in group),
            fpr95=_mean(one.fpr95 for one in group),
            caught=tuple(map(_triple, zip(*(one.caught for one in group), strict=True))),
        )
        for key, group in groups.items()
    ]


def _triple(shares: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    known, near, far = (_mean(each[group] for each in shares) for group in range(3))
    return known, near, far


def _averaged(rows: Sequence[T], key: Callable[[T], object]) -> Iterable[T]:
    """One row for each key: numbers are means, and the seed is -1."""
    groups: dict[object, list[T]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    for group in groups.values():
        plain = [msgspec.to_builtins(row) for row in group]
        yield msgspec.convert({**_mean_of(plain), "seed": -1}, type(group[0]))


def _mean_of(values: Sequence[Any]) -> Any:
    """Of equal structures of numbers and words."""
    first = values[0]
    if isinstance(first, dict):
        return {name: _mean_of([value[name] for value in values]) for name in first}
    if isinstance(first, list | tuple):
        return [_mean_of(parts) for parts in zip(*values, strict=True)]
    return _mean(values) if isinstance(first, float) else first


def _mean(values: Iterable[float]) -> float:
    return round(float(np.mean(list(values))), 4)
