"""The study of the whole loop: arms x seeds on worker processes, then figures.

Two devices meet the same domains with other pictures, so that their uploads pool; every arm of a seed
sees the same frames. A worker runs one (seed, arm group) with one thread.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgeadapt.bundle import read_folder
from edgeadapt.errors import ConfigError
from edgeadapt_cloud.adapt.strategies import STRATEGIES as KNOWN
from edgeadapt_models.compile import compile_pretrained
from edgeadapt_models.data import RenderedStream, Segment, StreamSpec, load, render
from edgeadapt_models.data.streams.domain import parse_domain
from edgeadapt_sim.accuracy import stretches_of
from edgeadapt_sim.bench.loop.arms import ArmResult, run_baselines, run_loop
from edgeadapt_sim.bench.loop.figures import (
    ArmRow,
    Claim,
    PatchRow,
    Truth,
    Truths,
    arm_row,
    claims,
    patch_rows,
)

DOMAINS = (
    "clean", "gaussian_noise:5", "fog:5", "glass_blur:5", "contrast:5",
    "snow:5", "motion_blur:5", "frost:5", "jpeg_compression:5",
)  # fmt: skip
STRATEGIES = ("cema", "anchored")
_DEVICES = 2
_BASELINES = ""  # the arm group of both baselines


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """What to study; raises ConfigError, on construction, for values that make no sense."""

    domains: tuple[str, ...] = DOMAINS
    frames_per_domain: int = 1500
    seeds: int = 3
    strategies: tuple[str, ...] = STRATEGIES
    dataset: str = "fashion-mnist"
    student: str = "fashion-mnist/resnet8"
    teacher: str = "fashion-mnist/teacher"
    min_new: int = 200
    workers: int = 2

    def __post_init__(self) -> None:
        if min(self.seeds, self.frames_per_domain, self.workers, len(self.domains)) < 1:
            raise ConfigError("seeds, frames per domain, workers and domains: expected at least one of each")
        if not self.strategies:
            raise ConfigError("strategies: expected at least one")
        for domain in self.domains:
            parse_domain(domain)


class Study(msgspec.Struct, frozen=True):
    """The result: `claims` are about the last of the plan's strategies."""

    arms: tuple[ArmRow, ...]
    patches: tuple[PatchRow, ...]
    claims: tuple[Claim, ...]


def run_study(plan: StudyPlan, on_done: Callable[[str], None]) -> Study:
    """Run everything; `on_done` is told, in words, of every piece that is finished.

    Raises:
        ConfigError: weights, data set, domain or strategy are not there.
    """
    for name in plan.strategies:
        KNOWN.get(name)
    with tempfile.TemporaryDirectory(prefix="edgeadapt-bench-") as scratch:
        bundle = Path(scratch) / "bundle"
        compile_pretrained(plan.student, bundle)
        results = _run_all(plan, bundle, on_done)
    truths = {seed: _truths(plan, seed) for seed in range(plan.seeds)}
    arms = list(dict.fromkeys(result.arm for result in results))
    rows = tuple(arm_row([result for result in results if result.arm == arm], truths) for arm in arms)
    alone = {result.seed: result for result in results if result.arm == "statistics"}
    patches = tuple(
        row
        for result in results
        for row in (patch_rows(result, alone[result.seed], truths[result.seed]) if result.patches else ())
    )
    return Study(rows, patches, claims(rows, patches, plan.strategies[-1]))


def pieces(plan: StudyPlan) -> list[tuple[int, str]]:
    """The (seed, arm group) pairs that workers take, longest first."""
    groups = (*plan.strategies, _BASELINES)
    return [(seed, group) for group in groups for seed in range(plan.seeds)]


def _run_all(plan: StudyPlan, bundle: Path, on_done: Callable[[str], None]) -> list[ArmResult]:
    done: dict[tuple[int, str], tuple[ArmResult, ...]] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(plan.workers, mp_context=context, initializer=_one_thread) as pool:
        futures = {pool.submit(run_piece, plan, bundle, *piece): piece for piece in pieces(plan)}
        try:
            for future in as_completed(futures):
                seed, group = futures[future]
                done[seed, group] = future.result()
                on_done(f"seed {seed}: {group or 'frozen and own statistics'}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    order = [(seed, group) for group in (_BASELINES, *plan.strategies) for seed in range(plan.seeds)]
    return [result for piece in order for result in done[piece]]


def run_piece(plan: StudyPlan, bundle_folder: Path, seed: int, group: str) -> tuple[ArmResult, ...]:
    """What a worker does: one strategy, or both baselines, on the streams of one seed."""
    bundle = read_folder(bundle_folder)
    frames = {name: stream.frames for name, stream in _streams(plan, seed).items()}
    if group == _BASELINES:
        return run_baselines(bundle, frames, seed)
    from edgeadapt_cloud.config import BundleSection, CloudConfig, SigningSection, StrategySection
    from edgeadapt_cloud.wiring import build_adapter

    config = CloudConfig(
        bundle=BundleSection(str(bundle_folder), plan.student, plan.teacher, plan.dataset),
        signing=SigningSection(key="in-memory"),
        strategy=StrategySection(name=group),
    )
    adapter = build_adapter(config, bundle)
    return (run_loop(bundle, adapter, frames, strategy=group, seed=seed, min_new=plan.min_new),)


def _streams(plan: StudyPlan, seed: int) -> dict[str, RenderedStream]:
    dataset = load(plan.dataset)
    segments = tuple(Segment(domain=domain, frames=plan.frames_per_domain) for domain in plan.domains)
    return {
        f"device-{number + 1}": render(StreamSpec(plan.dataset, segments, seed * _DEVICES + number), dataset)
        for number in range(_DEVICES)
    }


def _truths(plan: StudyPlan, seed: int) -> Truths:
    return {
        name: Truth(stream.labels, stretches_of(stream.domain_names, stream.domains))
        for name, stream in _streams(plan, seed).items()
    }


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
