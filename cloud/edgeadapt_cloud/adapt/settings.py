"""Everything that can be set on adaptation, one frozen struct per part.

The service hands over plain tables (`[strategy] options`, `[gate] options`); `make_settings` turns them
into these structs and names the key of every mistake. The ranges are those within which a job ends with a
verdict; structs that code builds itself are not checked. Nothing here imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from edgeadapt.errors import ConfigError

# Ranges. Each has two ends, so that NaN and infinity are in none.
Count = Annotated[int, Meta(ge=1)]
CountOrNone = Annotated[int, Meta(ge=0)]
Batch = Annotated[int, Meta(ge=2)]  # normalisation by a batch's own moments needs two images
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
UnseenShare = Annotated[float, Meta(ge=0.0, le=0.8)]  # a strategy needs something to see
Difference = Annotated[float, Meta(ge=-1.0, le=1.0)]
Momentum = Annotated[float, Meta(ge=0.0, lt=1.0)]
Weight = Annotated[float, Meta(ge=0.0, le=1e6)]
Positive = Annotated[float, Meta(gt=0.0, le=1e6)]


class SourceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much labelled source data the service holds in memory."""

    # Images drawn from the fit split for replay.
    replay_images: int = 12_000
    # Images drawn from the reserved split, on which the loss of source accuracy is measured.
    holdout_images: int = 3_000


class TeacherSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the frozen teacher labels samples."""

    # Samples (uniform lane first) from which its own statistics are re-estimated for each job.
    statistics_images: int = 256
    # Its source statistics count as this many images.
    prior_images: float = 16.0
    # 1: the image; 2: the image and its mirror image, probabilities averaged.
    views: int = 2


class AnchoredSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Strategy `anchored`: distillation with the device's statistics in place."""

    # Optimiser steps; the learning rate falls along a cosine.
    steps: Count = 100
    learning_rate: Positive = 0.3
    momentum: Momentum = 0.9
    # Uploads and labelled source images per step.
    batch: Batch = 48
    replay_batch: Batch = 64
    # Weight of cross-entropy against the teacher's class, next to Kullback-Leibler divergence.
    hard_label_weight: Weight = 1.0 / 3.0
    # Sample weights exp(E_max - E_teacher) with E_max = this share of ln K, capped.
    entropy_bound: Share = 0.4
    weight_cap: Positive = 5.0
    # Weight of the entropy of the mean prediction, which is maximised.
    diversity_weight: Weight = 0.1
    # Weight of cross-entropy on labelled source replay.
    replay_weight: Weight = 3.0
    # After every step, theta <- d theta + (1 - d) theta_source.
    source_ensembling: Share = 0.995
    # Mirror images at random; off for data where left and right differ in meaning.
    flip: bool = True
    # Largest shift of a training image, pixels.
    shift: CountOrNone = 2
    # In the end the values go back towards the source until the loss of accuracy on the source holdout is
    # at most this (0 to 1); the loss is taken to grow like this power of the way, and measured so often.
    rein_loss: Share = 0.009
    rein_exponent: Positive = 1.3
    rein_measurements: CountOrNone = 6


class CemaSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Strategy `cema`: the constants of its public code."""

    teacher_learning_rate: Weight = 2.5e-4
    student_learning_rate: Positive = 2.5e-3
    momentum: Momentum = 0.9
    # New uploads per step, replayed ones beside them, and replayed ones in a step without new ones.
    new_batch: Batch = 32
    replay_batch: CountOrNone = 96
    replay_only_batch: Batch = 128
    # Uploads remembered, and how many it takes before they are replayed.
    memory: Count = 10_000
    memory_start: CountOrNone = 256
    # Steps on replay alone after the new uploads are through.
    replay_steps: CountOrNone = 0
    # Weights of the student's entropy, the divergence from the teacher, and the teacher's class.
    entropy_weight: Weight = 3.0
    divergence_weight: Weight = 3.0
    class_weight: Weight = 1.0
    # E_max0 as a share of ln K.
    entropy_bound: Share = 0.4
    # Momentum of the normalisation statistics, which only uploads move.
    norm_momentum: Share = 0.1


class GateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a patch has to pass."""

    # Fewest samples a job may use, and fewest of them kept unseen by the strategy.
    min_samples: Annotated[int, Meta(ge=16)] = 96
    min_unseen: Count = 48
    # Newest share of each lane that the strategy never sees.
    unseen_share_adapt: UnseenShare = 0.25
    unseen_share_uniform: UnseenShare = 0.5
    # Largest loss of accuracy (0 to 1) on the labelled source holdout.
    max_source_loss: Share = 0.01
    # Agreement with the teacher has to rise by more than this, even less this many standard errors.
    min_agreement_gain: Difference = 0.005
    confidence_z: Weight = 1.0
    # Largest share of one class in the teacher's predictions: beyond it nothing can be learned safely.
    max_teacher_class_share: Share = 0.9
    # The candidate's effective number of predicted classes, relative to the teacher's or, where that is
    # smaller, to the student's before.
    min_class_spread: Share = 0.8
    # How much better the teacher must be than the student (0 to 1), estimated without labels. Below 0
    # because the estimate flatters a student that is sure of its mistakes, by up to some points.
    min_teacher_margin: Difference = -0.05


class AdaptSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it."""

    # Zoo names of the student that the bundle was compiled from, and of the teacher.
    student: str = "fashion-mnist/resnet8"
    teacher: str = "fashion-mnist/teacher"
    source: SourceSettings = SourceSettings()
    teaching: TeacherSettings = TeacherSettings()
    anchored: AnchoredSettings = AnchoredSettings()
    cema: CemaSettings = CemaSettings()
    gate: GateSettings = GateSettings()
    # Samples (uniform lane first) on which device statistics are settled under new affine values.
    settle_images: int = 256
    # Seed of every random choice; a job with the same input gives the same patch.
    seed: int = 0
    # Threads that torch may use; 0 leaves its own choice.
    threads: int = 1


T = TypeVar("T", bound=msgspec.Struct)


def make_settings(
    *,
    student: str,
    teacher: str,
    strategy: str = "anchored",
    options: Mapping[str, Any] | None = None,
    gate: Mapping[str, Any] | None = None,
) -> AdaptSettings:
    """Settings from the service's configuration.

    Args:
        student: zoo name ("fashion-mnist/resnet8").
        teacher: zoo name.
        strategy: which strategy `options` belong to.
        options: fields of that strategy's settings.
        gate: fields of `GateSettings`.

    Raises:
        ConfigError: a key is unknown, or its value has the wrong type or is out of range; the message
            names the key in full and says what was expected.
    """
    settings = AdaptSettings(student=student, teacher=teacher, gate=_convert("gate", gate, GateSettings))
    if strategy == "anchored":
        chosen = _convert("strategy", options, AnchoredSettings)
        return msgspec.structs.replace(settings, anchored=chosen)
    if strategy == "cema":
        return msgspec.structs.replace(settings, cema=_convert("strategy", options, CemaSettings))
    if options:
        raise ConfigError(f"strategy.options: strategy {strategy!r} takes its options from its own package")
    return settings


def _convert(section: str, table: Mapping[str, Any] | None, kind: type[T]) -> T:
    given = dict(table or {})
    unknown = sorted(set(given) - set(kind.__struct_fields__))
    if unknown:
        known = ", ".join(kind.__struct_fields__)
        raise ConfigError(f"{section}.options.{unknown[0]}: unknown key; known: {known}")
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{section}.options.{_explain(str(error), given)}") from error


def _explain(message: str, given: Mapping[str, Any]) -> str:
    """msgspec's "Expected `int` >= 1 - at `$.steps`" as "steps: expected int >= 1, got -1"."""
    what, _, where = message.rpartition(" - at `$.")
    key = where.rstrip("`")
    expected = re.sub(r", got .*", "", what).replace("`", "").replace("Expected", "expected", 1)
    return f"{key}: {expected}, got {given.get(key)!r}"
