"""From the arms' answers to the study's figures: accuracies in 0..1, shares, bytes, and the two claims.

The truth enters here. Spread is the sample standard deviation over seeds. Not here: drawing and files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from edgeadapt_sim.bench.loop.arms import ArmResult, JobFigures, PatchFigures
from edgeadapt_sim.records import Stretch

WORST_ALLOWED = -0.01  # a patch may leave a domain this much below own statistics, no more
MIN_FRAMES = 200  # of a domain under a patch, for a verdict on it


@dataclass(frozen=True, slots=True)
class Truth:
    """One device's labels int64 [N] and its domains in order."""

    labels: npt.NDArray[np.int64]
    stretches: tuple[Stretch, ...]


class DomainRow(msgspec.Struct, frozen=True):
    """Accuracy of one arm in one domain: mean and spread over seeds."""

    domain: str
    mean: float
    spread: float


class ArmRow(msgspec.Struct, frozen=True):
    """One arm over all seeds; counts, bytes and seconds are means per seed, bytes over all devices."""

    arm: str
    accuracy: float
    spread: float
    domains: tuple[DomainRow, ...]
    uploaded_share: float
    bytes_up: float
    bytes_down: float
    published: float
    refused: float
    refused_for: dict[str, int]
    cloud_s: float


class PatchRow(msgspec.Struct, frozen=True):
    """A patch in one domain: accuracy of the frames scored under it, and of own statistics on them."""

    arm: str
    seed: int
    cohort: str
    serial: int
    domain: str
    frames: int
    accuracy: float
    statistics: float

    @property
    def gain(self) -> float:
        """Accuracy above own statistics, 0..1."""
        return self.accuracy - self.statistics


class Claim(msgspec.Struct, frozen=True):
    """Something the loop is meant to do, and whether it did, with the figures.

    `holds` is None when nothing happened that could have broken it.
    """

    text: str
    holds: bool | None
    figures: str


Truths = Mapping[str, Truth]


def arm_row(results: Sequence[ArmResult], truths: Mapping[int, Truths]) -> ArmRow:
    """Pool one arm's results, one per seed; `truths` is by seed and device."""
    per_seed = [_accuracy(result, truths[result.seed]) for result in results]
    frames = [sum(len(labels) for labels in result.labels.values()) for result in results]
    jobs = [job for result in results for job in result.jobs]
    count = len(results)
    return ArmRow(
        arm=results[0].arm,
        accuracy=_mean(values[""] for values in per_seed),
        spread=_spread([values[""] for values in per_seed]),
        domains=tuple(
            DomainRow(
                domain,
                _mean(values[domain] for values in per_seed),
                _spread([values[domain] for values in per_seed]),
            )
            for domain in per_seed[0]
            if domain
        ),
        uploaded_share=sum(result.uploaded for result in results) / sum(frames),
        bytes_up=sum(result.bytes_up for result in results) / count,
        bytes_down=sum(result.bytes_down for result in results) / count,
        published=sum(job.state == "published" for job in jobs) / count,
        refused=sum(job.state == "refused" for job in jobs) / count,
        refused_for=_reasons(jobs),
        cloud_s=sum(job.seconds for job in jobs) / count,
    )


def patch_rows(result: ArmResult, statistics: ArmResult, truths: Truths) -> tuple[PatchRow, ...]:
    """Every published patch in every domain where it scored at least MIN_FRAMES frames."""
    rows = []
    for patch in result.patches:
        pooled: dict[str, list[npt.NDArray[np.bool_]]] = {}
        for name, truth in truths.items():
            under = np.array([_is_of(patch, generation) for generation in result.generations[name]])
            right = np.stack([arm.labels[name] == truth.labels for arm in (result, statistics)])
            for stretch in truth.stretches:
                part = slice(stretch.start, stretch.stop)
                pooled.setdefault(stretch.domain, []).append(right[:, part][:, under[part]])
        for domain, parts in pooled.items():
            both = np.concatenate(parts, axis=1)
            if both.shape[1] >= MIN_FRAMES:
                loop, alone = (float(value) for value in both.mean(axis=1))
                row = PatchRow(
                    result.arm, result.seed, patch.cohort, patch.serial, domain, both.shape[1], loop, alone
                )
                rows.append(row)
    return tuple(rows)


def _is_of(patch: PatchFigures, generation: str) -> bool:
    """Devices name a generation by the first digits of its patch's digest."""
    return generation != "" and patch.digest.startswith(generation)


def claims(rows: Sequence[ArmRow], patches: Sequence[PatchRow], arm: str) -> tuple[Claim, ...]:
    """The two claims, for the arm that is the default strategy."""
    by_arm = {row.arm: row for row in rows}
    loop, alone = by_arm[arm], by_arm["statistics"]
    mine = [row for row in patches if row.arm == arm]
    worst = min(mine, key=lambda row: row.gain, default=None)
    return (
        Claim(
            "the full loop is at least own statistics, on the mean",
            loop.accuracy >= alone.accuracy,
            f"{100 * loop.accuracy:.1f} % against {100 * alone.accuracy:.1f} %",
        ),
        Claim(
            "no published patch leaves a domain more than 1 point below own statistics",
            worst.gain >= WORST_ALLOWED if worst else None,
            f"{len(mine)} cases of a patch in a domain; {_describe(worst)}"
            if worst
            else "no published patch scored enough frames of a domain",
        ),
    )


def _describe(worst: PatchRow) -> str:
    return (
        f"the worst: {worst.cohort} #{worst.serial} in {worst.domain}, seed {worst.seed}, "
        f"{100 * worst.gain:+.1f} points over {worst.frames} frames"
    )


def _accuracy(result: ArmResult, truths: Truths) -> dict[str, float]:
    """Accuracy per domain over all devices; under "" over all frames."""
    pooled: dict[str, list[npt.NDArray[np.bool_]]] = {"": []}
    for name, truth in truths.items():
        right = result.labels[name] == truth.labels
        pooled[""].append(right)
        for stretch in truth.stretches:
            pooled.setdefault(stretch.domain, []).append(right[stretch.start : stretch.stop])
    return {domain: float(np.concatenate(parts).mean()) for domain, parts in pooled.items()}


def _reasons(jobs: Iterable[JobFigures]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for job in jobs:
        for check in job.failed:
            counts[check] = counts.get(check, 0) + 1
    return counts


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _spread(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
