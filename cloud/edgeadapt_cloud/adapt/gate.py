"""The gate: may this patch be published? Every check is a value with its bound; a refusal is no error.

Before teaching (`material`): enough samples, sane device statistics, a teacher that says something.
After teaching (`judge`), each student with the statistics its devices would settle at:
  within-bounds     every value finite and inside its slot's bounds
  source-holdout    accuracy on labelled source images falls by at most `max_source_loss`; a strategy
                    that measures on the same images (`anchored` reins its patch in on them) makes this a
                    check of consistency, not independent evidence (separate splits refused good patches)
  teacher-better    the teacher's accuracy, estimated without labels, is not below the student's
  agreement-gain    agreement with the teacher on unseen uploads rises, lower confidence bound > 0,
                    against the student with its statistics only on the same samples
  agreement-serving not worse than the patch that the cohort runs now
  class-spread      predictions have not concentrated on fewer classes than the teacher's, or than before
  runs-in-int8      the bundle's int8 models, if it has any, can take the values (`runs_in_int8`)
Not here: how samples are weighted (`sampling`), and what happens after a refusal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgeadapt.bundle import Bundle, Manifest
from edgeadapt.bundle.limits import check_values
from edgeadapt.errors import BundleError
from edgeadapt.patch import Evidence
from edgeadapt.tensors import FloatArray
from edgeadapt_cloud.adapt.sampling import weighted_mean
from edgeadapt_cloud.adapt.settings import GateSettings


@dataclass(frozen=True, slots=True)
class Material:
    """What a job starts from: `count` samples, of which `unseen` are kept from the strategy.

    `labels` are the teacher's soft labels [N, K]; `mean` and `var` the devices' statistics [P].
    """

    count: int
    unseen: int
    labels: Tensor
    mean: FloatArray
    var: FloatArray


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """Accuracy (0 to 1) and mean confidence of one network on labelled source images."""

    accuracy: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Contest:
    """What the judges compare. Probabilities are float32 [M, K] on the M unseen uploads.

    Attributes:
        values: the proposed slot values.
        manifest: knows their bounds.
        labels: the teacher's soft labels.
        weights: [M], summing to 1: what each upload stands for.
        candidate: predictions under the proposed values.
        statistics_only: predictions under the base values.
        serving: predictions under the values served now, or None when that is the base.
        source_candidate: the proposed values on the source holdout.
        source_base: the base values on it.
        source_teacher: the teacher on it.
    """

    values: Mapping[str, FloatArray]
    manifest: Manifest
    labels: Tensor
    weights: Tensor
    candidate: Tensor
    statistics_only: Tensor
    serving: Tensor | None
    source_candidate: SourceFigures
    source_base: SourceFigures
    source_teacher: SourceFigures


def material(given: Material, settings: GateSettings) -> tuple[Evidence, ...]:
    """Is there something to learn from?"""
    finite = bool(np.isfinite(given.mean).all() and np.isfinite(given.var).all() and (given.var > 0).all())
    told = bool(torch.isfinite(given.labels).all()) and len(given.labels) > 0
    share = _largest_share(given.labels) if told else 1.0
    return (
        _at_least("samples", given.count, settings.min_samples),
        _at_least("unseen-samples", given.unseen, settings.min_unseen),
        _at_least("device-statistics", float(finite), 1.0, "finite, variances above 0"),
        _at_least("teacher-finite", float(told), 1.0),
        _at_most("teacher-class-share", share, settings.max_teacher_class_share, "largest class"),
    )


def judge(contest: Contest, settings: GateSettings) -> tuple[Evidence, ...]:
    """All checks of a proposed patch."""
    bounds = _within_bounds(contest.values, contest.manifest)
    if not bounds.passed:
        return (bounds,)
    checks = [
        bounds,
        _source_holdout(contest, settings),
        _teacher_better(contest, settings),
        _gain(contest, contest.statistics_only, settings),
    ]
    if contest.serving is not None:
        checks.append(_not_worse(contest, contest.serving))
    return (*checks, _class_spread(contest, settings))


def runs_in_int8(bundle: Bundle, values: Mapping[str, FloatArray]) -> tuple[Evidence, ...]:
    """Whether each int8 model of the bundle can take the values; nothing for a bundle without one."""
    found = [artifact for artifact in bundle.manifest.artifacts if artifact.precision == "int8"]
    try:
        for artifact in found:
            check_values(bundle, artifact, values)
    except BundleError as error:
        return (Evidence("runs-in-int8", 0.0, 1.0, False, str(error)),)
    detail = ", ".join(artifact.file for artifact in found)
    return (Evidence("runs-in-int8", 1.0, 1.0, True, detail),) if found else ()


def estimated_accuracy(confidence: float, source: SourceFigures) -> float:
    """Accuracy on unlabelled samples, from the difference of confidences (Guillory et al., ICCV 2021)."""
    return source.accuracy - (source.confidence - confidence)


def _within_bounds(values: Mapping[str, FloatArray], manifest: Manifest) -> Evidence:
    slots = {slot.name: slot for slot in manifest.slots}
    for name, value in values.items():
        slot = slots.get(name)
        if slot is None or value.shape != slot.shape or not np.isfinite(value).all():
            return Evidence("within-bounds", 0.0, 1.0, False, f"{name} is not finite or does not fit")
        if float(value.min()) < slot.lower or float(value.max()) > slot.upper:
            return Evidence("within-bounds", 0.0, 1.0, False, f"{name} leaves its slot's bounds")
    return _at_least("within-bounds", float(bool(values)), 1.0, f"{len(values)} slots")


def _source_holdout(contest: Contest, settings: GateSettings) -> Evidence:
    before, after = contest.source_base.accuracy, contest.source_candidate.accuracy
    detail = f"{before:.4f} before, {after:.4f} with the patch"
    return _at_most("source-holdout", before - after, settings.max_source_loss, detail)


def _teacher_better(contest: Contest, settings: GateSettings) -> Evidence:
    teacher = estimated_accuracy(_confidence(contest.labels, contest.weights), contest.source_teacher)
    student = estimated_accuracy(_confidence(contest.statistics_only, contest.weights), contest.source_base)
    detail = f"estimated {teacher:.3f} for the teacher, {student:.3f} for the student"
    return _at_least("teacher-better", teacher - student, settings.min_teacher_margin, detail)


def _gain(contest: Contest, reference: Tensor, settings: GateSettings) -> Evidence:
    gain, error = _agreement_gain(contest, reference)
    bound = gain - settings.confidence_z * error
    detail = f"{gain:+.4f} with standard error {error:.4f} on {len(reference)} unseen uploads"
    passed = bound > settings.min_agreement_gain
    return Evidence("agreement-gain", bound, settings.min_agreement_gain, passed, detail)


def _not_worse(contest: Contest, reference: Tensor) -> Evidence:
    gain, error = _agreement_gain(contest, reference)
    return _at_least("agreement-serving", gain, 0.0, f"standard error {error:.4f}")


def _agreement_gain(contest: Contest, reference: Tensor) -> tuple[float, float]:
    """Rise of the teacher's probability of the predicted class, paired, with its standard error."""
    after = contest.labels.gather(1, contest.candidate.argmax(dim=1, keepdim=True))
    before = contest.labels.gather(1, reference.argmax(dim=1, keepdim=True))
    return weighted_mean((after - before).squeeze(1), contest.weights)


def _class_spread(contest: Contest, settings: GateSettings) -> Evidence:
    ours = _effective_classes(contest.candidate, contest.weights)
    teachers = _effective_classes(contest.labels, contest.weights)
    before = _effective_classes(contest.statistics_only, contest.weights)
    detail = f"{ours:.2f} classes in effect, {before:.2f} before, the teacher's {teachers:.2f}"
    return _at_least("class-spread", ours / min(teachers, before), settings.min_class_spread, detail)


def _effective_classes(probabilities: Tensor, weights: Tensor) -> float:
    """exp(entropy) of the histogram of predicted classes."""
    histogram = torch.zeros(probabilities.shape[1])
    histogram.index_add_(0, probabilities.argmax(dim=1), weights)
    return math.exp(-float((histogram * histogram.clamp_min(1e-9).log()).sum()))


def _confidence(probabilities: Tensor, weights: Tensor) -> float:
    return float((probabilities.amax(dim=1) * weights).sum())


def _largest_share(labels: Tensor) -> float:
    counts = torch.bincount(labels.argmax(dim=1), minlength=labels.shape[1])
    return float(counts.max()) / len(labels)


def _at_least(check: str, value: float, bound: float, detail: str = "") -> Evidence:
    return Evidence(check, float(value), float(bound), value >= bound, detail)


def _at_most(check: str, value: float, bound: float, detail: str = "") -> Evidence:
    return Evidence(check, float(value), float(bound), value <= bound, detail)
