"""The study: seed by seed, domain by domain, every model in every state under every scorer.

What is looked at is the same for all models of a seed. What a figure means is in `plan`, where frames come
from in `pictures`, what models say of them in `observe`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeadapt.scoring import conformal
from edgeadapt.tensors import FloatArray
from edgeadapt_sim.bench.ood import metrics
from edgeadapt_sim.bench.ood.models import Model
from edgeadapt_sim.bench.ood.observe import Observer, Seen
from edgeadapt_sim.bench.ood.patches import PatchMaker, one_thread
from edgeadapt_sim.bench.ood.pictures import Gallery
from edgeadapt_sim.bench.ood.plan import (
    CLEAN,
    NOMINAL,
    STATES,
    At,
    Cost,
    OodPlan,
    Row,
    Spectrum,
    Study,
    StyleRow,
)
from edgeadapt_sim.bench.ood.reference import compare
from edgeadapt_sim.bench.ood.scores import Fitted, cost, fit_all
from edgeadapt_sim.bench.ood.spectrum import SCORES, Pool
from edgeadapt_sim.bench.ood.students import student

Domain = tuple[str, int]
Values = dict[str, tuple[FloatArray, FloatArray, FloatArray]]
"""(known, near, far) by kind of values."""


@dataclass(frozen=True, slots=True)
class Bench:
    """One model, ready.

    Attributes:
        network: its short name.
        observer: of the compiled model.
        fitted: its scorers.
        clean_scores: of clean known frames under the base model, by scorer.
        pools: by state.
    """

    network: str
    observer: Observer
    fitted: tuple[Fitted, ...]
    clean_scores: dict[str, FloatArray]
    pools: dict[str, Pool]


def pieces(plan: OodPlan) -> list[tuple[int, str, Domain]]:
    """(seed, network, domain) in the order in which they are measured."""
    return [
        (seed, network, domain)
        for seed in range(plan.seeds)
        for network in plan.networks
        for domain in plan.domains
        if plan.measures(seed, network, domain[1])
    ]


def run_study(
    plan: OodPlan, cache: Path, report: Callable[[str], None], on_done: Callable[[str], None]
) -> Study:
    """Measure everything.

    Args:
        plan: what.
        cache: where trained networks, and what they say, are kept from run to run.
        report: told what takes long before the first domain of a network.
        on_done: called after each piece.

    Raises:
        ConfigError: an unknown network or corruption, or a data set is not here.
    """
    one_thread()
    rows: list[Row] = []
    style: list[StyleRow] = []
    spectra: list[Spectrum] = []
    costs: list[Cost] = []
    far: tuple[str, ...] = ()
    bench: Bench | None = None
    for seed, network, domain in pieces(plan):
        if bench is None or domain[0] == CLEAN:
            spectra += [] if bench is None else _spectra(bench)
            bench = prepare(plan, network, seed, cache, report)
            far = bench.observer.gallery.far_sets
            costs += _costs(bench) if seed == 0 else []
        seen = bench.observer.see(domain)
        rows += measure(bench, domain, seen)
        if network == plan.networks[0]:
            style.append(_style(bench.observer.model, seen["base"], plan, seed, domain))
        on_done(f"seed {seed}, {network}, {domain[0]} {domain[1] or ''}".strip())
    spectra += [] if bench is None else _spectra(bench)
    return Study(far, tuple(rows), tuple(style), tuple(spectra), tuple(costs))


def prepare(plan: OodPlan, network: str, seed: int, cache: Path, report: Callable[[str], None]) -> Bench:
    """Train a network, or find it; compile it and fit its scorers."""
    trained = student(network, plan.dataset, seed, plan.epochs, cache, report)
    report(f"seed {seed}: compiling {network}, fitting scorers")
    model = Model(trained, plan.fitting)
    fitted = fit_all(model.source)
    gallery = Gallery(trained, plan, seed)
    outputs = model.outputs(model.base, gallery.domain(CLEAN, 0).known)
    scores = {each.name: each.scorer.score(outputs) for each in fitted}
    # It reads a teacher and measures it: not for a study that finds everything in the cache.
    maker = functools.cache(lambda: PatchMaker(trained, model.bundle, steps=plan.steps))
    observer = Observer(model, maker, gallery, plan, seed, cache / "seen")
    return Bench(network, observer, fitted, scores, {state: Pool(network, seed, state) for state in STATES})


def measure(bench: Bench, domain: Domain, seen: dict[str, Seen]) -> list[Row]:
    """One model in one domain, in all its states; figures go to the pools, too."""
    rows = []
    for state, found in seen.items():
        for fitted in bench.fitted:
            if "style" in fitted.needs and state != "base":
                continue
            values, misrouted = _values(fitted, found)
            rows.append(_row(bench, domain, state, fitted, found, values, misrouted))
            for pooled in _pools(bench, state, domain, fitted):
                for kind, groups in values.items():
                    bench.pools[pooled].add(kind, fitted.name, groups)
    return rows


def _pools(bench: Bench, state: str, domain: Domain, fitted: Fitted) -> tuple[str, ...]:
    """In which pools figures of a state count: the base model is the one at home."""
    if domain[1] not in (0, bench.observer.plan.highest):
        return ()
    if domain[0] != CLEAN:
        return (state,)
    states = STATES if "style" not in fitted.needs else ("base",)
    return states if state == "base" else ()


def _values(fitted: Fitted, seen: Seen) -> tuple[Values, float]:
    """Scores and p-values of the domain's frames, and the share of clean frames that its knots flag."""
    score = fitted.scorer.score
    known, near, far = (score(outputs) for outputs in (seen.known, seen.near, seen.far))
    knots = {
        "base": fitted.knots,
        "source": conformal.knots(score(seen.source)),
        "known": conformal.knots(score(seen.reserved)),
        "uploads": conformal.knots(score(seen.mixed)),
    }
    values = {SCORES: (known, near, far)}
    for kind, held in knots.items():
        p_known, p_near, p_far = (conformal.p_values(part, held) for part in (known, near, far))
        values[kind] = (p_known, p_near, p_far)
    return values, metrics.below(conformal.p_values(score(seen.clean), knots["known"]))


def _row(
    bench: Bench, domain: Domain, state: str, fitted: Fitted, seen: Seen, values: Values, misrouted: float
) -> Row:
    plan, seed = bench.observer.plan, bench.observer.seed
    known, near, far = values[SCORES]
    drawn = metrics.windows(len(known), plan.windows, seed)
    return Row(
        network=bench.network,
        seed=seed,
        domain=domain[0],
        severity=domain[1],
        state=state,
        scorer=fitted.name,
        accuracy=seen.accuracy,
        near=metrics.auroc(known, near),
        far=metrics.auroc(known, far),
        fpr95_near=metrics.fpr95(known, near),
        fpr95_far=metrics.fpr95(known, far),
        shift=metrics.auroc(bench.clean_scores[fitted.name], known),
        window=metrics.window_rate(known, fitted.clean, drawn),
        at=tuple(
            At(kind, *(metrics.below(part) for part in parts))
            for kind, parts in values.items()
            if kind != SCORES
        ),
        misrouted=misrouted,
    )


def _style(model: Model, base: Seen, plan: OodPlan, seed: int, domain: Domain) -> StyleRow:
    """The window test against clean windows, and the same with windows of one frame."""
    calibration = model.bundle.calibration
    found, clean = base.known.style, model.source.holdout.style
    assert found is not None
    assert clean is not None

    def rate(windows: FloatArray, usual: FloatArray) -> float:
        mean, std = calibration.signature_mean, calibration.signature_std
        line = np.quantile(metrics.style_statistic(usual, mean, std), 1 - NOMINAL)
        return float((metrics.style_statistic(windows, mean, std) > line).mean())

    drawn = metrics.windows(len(found), plan.windows, seed)
    usual = metrics.windows(len(clean), 10 * plan.windows, 1)
    return StyleRow(seed, *domain, rate(found[drawn], clean[usual]), rate(found[:, None], clean[:, None]))


def _spectra(bench: Bench) -> list[Spectrum]:
    combined = [fitted.name for fitted in bench.fitted if fitted.semantic]
    return [found for pool in bench.pools.values() for found in pool.spectra(combined)]


def _costs(bench: Bench) -> list[Cost]:
    source, found = bench.observer.model.source, []
    for fitted in bench.fitted:
        compared = compare(fitted.name, source)
        plain = cost(bench.network, fitted, source.holdout, bench.observer.plan.timing_s)
        found.append(plain if compared is None else compared.beside(plain))
    return found
