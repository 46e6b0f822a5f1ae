"""Runs one adaptation job from samples to verdict.

    label      the teacher settles on the cohort's samples and labels them
    check      is there something to learn from? (`gate.material`)
    keep back  the newest samples of each lane stay unseen
    teach      the strategy proposes slot values, as far as int8 models of the bundle can take them
    judge      candidate, statistics-only and serving student on the unseen samples (`gate.judge`)
    calibrate  the scorers' thresholds under the patch (`thresholds`)
    audit      how often the devices said what the teacher says, where the audit lane drew (`core.audit`)

What is strange to a model that has adapted (lane "strange") has no part in any label: the teacher does not
settle on it, no strategy sees it, and it is left out of the gate's figures, which speak for the frames that
devices take for known. It stays where the question is what devices see: the student's statistics, which on a
device come from all frames, and the thresholds, which would be too strict without it.

Invariants: values are returned only with a verdict that passed; the same request gives the same patch,
whatever ran before.
Not here: when a job runs, signing and rollout.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from edgeadapt.bundle import Bundle
from edgeadapt.bundle.limits import keep_signs
from edgeadapt.errors import ConfigError
from edgeadapt.patch import Evidence
from edgeadapt.scoring.suite import Suite
from edgeadapt.tensors import FloatArray
from edgeadapt_cloud.adapt import gate
from edgeadapt_cloud.adapt.sampling import stratum_weights, uniform_first, unseen_mask
from edgeadapt_cloud.adapt.settings import AdaptSettings
from edgeadapt_cloud.adapt.source import LabelledSource
from edgeadapt_cloud.adapt.statistics import DeviceStatistics, best_match
from edgeadapt_cloud.adapt.strategies import STRATEGIES, Lesson, Strategy, Taught
from edgeadapt_cloud.adapt.student import Student
from edgeadapt_cloud.adapt.teacher import Teacher
from edgeadapt_cloud.adapt.thresholds import calibration_frames, patch_thresholds
from edgeadapt_cloud.adapt.views import as_tensor
from edgeadapt_cloud.core.audit import audited
from edgeadapt_cloud.core.jobs.job import ImageArray, JobRequest, JobResult, Verdict
from edgeadapt_models.zoo import load_pretrained

TEACHER_HOLDOUT = 512
"""Source holdout images that the teacher is measured on; it is slower than a student."""


FEW_EXACT = 16
"""With fewer samples as the model saw them, statistics rest on those that were changed for privacy, too."""


@dataclass(frozen=True, slots=True)
class Networks:
    """The student that the bundle was compiled from, and its teacher."""

    student: nn.Module
    teacher: nn.Module


@dataclass(frozen=True, slots=True)
class _Pool:
    """The samples of one job: images [N, C, H, W], soft labels [N, K] and masks [N].

    `uniform` is all that was drawn at random, what is `strange` too; nothing is taught of `unseen`.
    """

    images: Tensor
    labels: Tensor
    uniform: Tensor
    strange: Tensor
    unseen: Tensor
    exact: Tensor

    @property
    def judged(self) -> Tensor:
        """What the gate looks at."""
        return self.unseen & ~self.strange


class Adapter:
    """Adaptation of one bundle's students. One thread at a time."""

    def __init__(
        self,
        settings: AdaptSettings,
        bundle: Bundle,
        source: LabelledSource,
        networks: Networks | None = None,
    ) -> None:
        """Load the networks (from the zoo unless given) and check them against the bundle.

        Raises:
            ConfigError: unknown names, or the student's weights are not those of the bundle.
        """
        if settings.threads:
            torch.set_num_threads(settings.threads)
        if networks is None:
            networks = Networks(load_pretrained(settings.student), load_pretrained(settings.teacher))
        self._settings = settings
        self._bundle = bundle
        self._suite = Suite.of(bundle.calibration)
        self._source = source
        self._student = Student(networks.student, bundle.manifest, bundle.base_slots())
        self._teacher = Teacher(networks.teacher, settings.teaching)
        self._holdout = as_tensor(source.holdout.images)
        self._holdout_labels = torch.from_numpy(source.holdout.labels)
        self._source_base = self._on_source({})
        first = self._holdout[:TEACHER_HOLDOUT]
        self._source_teacher = _figures(
            self._teacher.probabilities(first), self._holdout_labels[: len(first)]
        )

    def run(self, request: JobRequest, images: ImageArray, lanes: list[str]) -> JobResult:
        """Run a job; see `core.jobs.job.AdapterPort`.

        Raises:
            ConfigError: unknown strategy, or the request does not fit the bundle.
        """
        started_s = time.perf_counter()
        pool = self._label(request, images, lanes)
        taught, evidence = self._propose(request, pool)
        verdict = Verdict(_passed(evidence), evidence)
        return JobResult(
            cohort=request.cohort,
            job=request.job,
            verdict=verdict,
            values=taught.values if verdict.passed else {},
            strategy=request.strategy,
            samples=len(images),
            seconds=time.perf_counter() - started_s,
            state=taught.state,
            note=_note(evidence, taught),
            thresholds=taught.thresholds if verdict.passed else {},
            audit=audited(request.draws, self._classes_of(request, pool)),
        )

    def propose(
        self, request: JobRequest, images: ImageArray, lanes: list[str]
    ) -> tuple[Taught, tuple[Evidence, ...]]:
        """What the strategy proposes and the gate's checks of it, whatever they say: for studies, not for
        devices.

        Nothing is taught, and the values are empty, where the material does not pass. Raises as `run` does.
        """
        return self._propose(request, self._label(request, images, lanes))

    def _propose(self, request: JobRequest, pool: _Pool) -> tuple[Taught, tuple[Evidence, ...]]:
        strategy, known = STRATEGIES.get(request.strategy), ~pool.strange
        found = gate.Material(
            int(known.sum()), int(pool.judged.sum()), pool.labels[known], request.mean, request.var
        )
        evidence = gate.material(found, self._settings.gate)
        if not _passed(evidence):
            return Taught({}, request.state, "nothing was taught"), evidence
        taught, verdicts = self._teach(request, pool, strategy)
        return taught, (*evidence, *verdicts)

    def _check(self, request: JobRequest, images: ImageArray, lanes: list[str]) -> None:
        spec, channels = self._bundle.manifest.input, self._bundle.manifest.probe_channels
        if request.bundle_digest != self._bundle.digest:
            raise ConfigError(f"the job is for bundle {request.bundle_digest[:12]}, not for this adapter's")
        if images.ndim != 4 or images.shape[1:] != (spec.height, spec.width, spec.channels):
            raise ConfigError(f"samples are {images.shape}, the bundle takes {spec}")
        if not len(images) == len(lanes) == len(request.sample_ids):
            raise ConfigError(f"{len(images)} images, {len(lanes)} lanes, {len(request.sample_ids)} ids")
        if request.mean.shape != (channels,) or request.var.shape != (channels,):
            raise ConfigError(f"device statistics must have {channels} entries, got {request.mean.shape}")

    def _label(self, request: JobRequest, images: ImageArray, lanes: list[str]) -> _Pool:
        STRATEGIES.get(request.strategy)  # an unknown one is an error before anything is computed
        self._check(request, images, lanes)
        pixels = as_tensor(images)
        strange = torch.tensor([lane == "strange" for lane in lanes], dtype=torch.bool)
        uniform = torch.tensor([lane == "audit" for lane in lanes], dtype=torch.bool) | strange
        exact = _exact(request, strange)
        classes = len(self._bundle.manifest.classes)
        labels = torch.zeros((0, classes))
        if len(pixels):
            count = self._settings.teaching.statistics_images
            self._teacher.settle(pixels[uniform_first(uniform, count, exact & ~strange)])
            labels = self._teacher.probabilities(pixels)
        gates = self._settings.gate
        unseen = unseen_mask(
            uniform, share_adapt=gates.unseen_share_adapt, share_uniform=gates.unseen_share_uniform
        )
        return _Pool(pixels, labels, uniform, strange, unseen, exact)

    def _classes_of(self, request: JobRequest, pool: _Pool) -> dict[str, int]:
        """The teacher's class of each sample, by the digest of its data."""
        classes = pool.labels.argmax(dim=1).tolist() if len(pool.labels) else []
        return dict(zip(request.sample_ids, classes, strict=True))

    def _teach(
        self, request: JobRequest, pool: _Pool, strategy: Strategy
    ) -> tuple[Taught, tuple[Evidence, ...]]:
        student, judged = self._student, pool.judged
        settling = pool.images[uniform_first(pool.uniform, self._settings.settle_images, pool.exact)]
        generations = (request.serving, {}) if request.serving else ({},)
        statistics = best_match(student, generations, settling, request.mean, request.var)
        serving = self._predict(request.serving, statistics, pool.images[judged]) if request.serving else None
        everywhere = self._predict({}, statistics, pool.images)
        taught = strategy(self._lesson(request, pool, statistics))
        # One patch serves float and int8 devices, and the integers hold the signs of the base's scales.
        taught = replace(taught, values=keep_signs(self._bundle, taught.values))
        contest = gate.Contest(
            values=taught.values,
            manifest=self._bundle.manifest,
            labels=pool.labels[judged],
            weights=_weights(everywhere, pool),
            candidate=self._predict(taught.values, statistics, pool.images[judged]),
            statistics_only=everywhere[judged],
            serving=serving,
            source_candidate=self._on_source(taught.values),
            source_base=self._source_base,
            source_teacher=self._source_teacher,
        )
        runs = gate.runs_in_int8(self._bundle, taught.values)
        taught = self._with_thresholds(taught, pool, statistics)
        return taught, (*gate.judge(contest, self._settings.gate), *runs)

    def _with_thresholds(self, taught: Taught, pool: _Pool, statistics: DeviceStatistics) -> Taught:
        frames = calibration_frames(pool.labels, pool.uniform, pool.unseen, pool.strange)
        found = patch_thresholds(self._suite, self._student, taught.values, statistics, pool.images, frames)
        note = "; ".join(text for text in (taught.note, found.note) if text)
        return replace(taught, thresholds=found.knots, note=note)

    def _lesson(self, request: JobRequest, pool: _Pool, statistics: DeviceStatistics) -> Lesson:
        seen = ~pool.unseen & ~pool.strange
        ids = tuple(name for name, shown in zip(request.sample_ids, seen.tolist(), strict=True) if shown)
        return Lesson(
            student=self._student,
            serving=request.serving,
            images=pool.images[seen],
            sample_ids=ids,
            labels=pool.labels[seen],
            statistics=statistics,
            source=self._source,
            base_accuracy=self._source_base.accuracy,
            teacher=self._teacher,
            state=request.state,
            settings=self._settings,
            generator=torch.Generator().manual_seed(self._settings.seed + request.job),
        )

    def _predict(
        self, values: Mapping[str, FloatArray], statistics: DeviceStatistics, images: Tensor
    ) -> Tensor:
        """Probabilities under `values` and the statistics that devices would settle at."""
        self._student.load(values)
        statistics.settle(self._student)
        return self._student.probabilities(images)

    def _on_source(self, values: Mapping[str, FloatArray]) -> gate.SourceFigures:
        """Accuracy on the holdout under `values`, with statistics settled on it."""
        self._student.load(values)
        return _figures(self._student.settled_probabilities(self._holdout), self._holdout_labels)


def _exact(request: JobRequest, strange: Tensor) -> Tensor:
    """Mask bool [N] of the samples that statistics may rest on; the teacher's do on none that is strange.

    Where devices change every picture for privacy there are no others, and those that are not compressed
    with loss besides stand in; the devices' own moments are carried over by differences, so what is changed
    alike in all of them cancels (`statistics`).
    """
    count = len(strange)
    lossless = torch.tensor([number not in request.lossy for number in range(count)], dtype=torch.bool)
    if request.lossy and int(lossless.sum()) < 2:
        raise ConfigError("statistics need samples without loss, and all of these were compressed with it")
    unchanged = torch.tensor([number not in request.altered for number in range(count)], dtype=torch.bool)
    exact = lossless & unchanged
    return exact if int((exact & ~strange).sum()) >= FEW_EXACT else lossless


def _weights(predictions: Tensor, pool: _Pool) -> Tensor:
    """What each judged sample stands for among the frames that devices take for known."""
    known = ~pool.strange
    return stratum_weights(predictions[known], pool.uniform[known], pool.unseen[known])


def _figures(probabilities: Tensor, labels: Tensor) -> gate.SourceFigures:
    confidence, predicted = probabilities.max(dim=1)
    return gate.SourceFigures(float((predicted == labels).float().mean()), float(confidence.mean()))


def _passed(evidence: tuple[Evidence, ...]) -> bool:
    return all(entry.passed for entry in evidence)


def _note(evidence: tuple[Evidence, ...], taught: Taught) -> str:
    failed = ", ".join(entry.check for entry in evidence if not entry.passed)
    return f"refused: {failed}; {taught.note}" if failed else taught.note
