"""The drift alarm: its level on streams that do not drift, in whatever order; and that drift is seen soon."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from edgeadapt import drift, whitening
from edgeadapt.bundle import Calibration
from edgeadapt.drift import DriftAlarm
from edgeadapt.signature import class_means
from edgeadapt.tensors import FloatArray
from tests.core import bundles

CLASSES, SIZE = 3, 16
Labels = npt.NDArray[np.int64]


def frames(count: int, seed: int) -> tuple[FloatArray, Labels]:
    """Features that lie by class, share a loud part, and have heavy tails; and the classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    middle = 2.0 * np.random.default_rng(99).normal(size=(CLASSES, SIZE))
    own = 0.2 * rng.standard_t(5, size=(count, SIZE))
    return (middle[labels] + rng.normal(size=(count, 1)) + own).astype(np.float32), labels


@pytest.fixture(scope="module")
def source() -> Calibration:
    features, labels = frames(3000, seed=1)
    found = replace(
        bundles.calibration(),
        signature_mean=features.mean(axis=0),
        signature_std=features.std(axis=0),
        class_signatures=class_means(features, labels, CLASSES),
        signature_whitening=whitening.fit(features),
    )
    tolerance = drift.tolerance(features, labels, labels, found)
    return replace(found, drift_tolerance=np.array([tolerance], np.float32))


def played(calibration: Calibration, vectors: FloatArray, labels: Labels, alpha: float = 0.01) -> DriftAlarm:
    alarm = DriftAlarm.of(calibration, alpha)
    for vector, label in zip(vectors, labels.tolist(), strict=True):
        alarm.update(vector, label)
    return alarm


def frames_until(alarm: DriftAlarm, vectors: FloatArray, labels: Labels) -> int:
    for number, (vector, label) in enumerate(zip(vectors, labels.tolist(), strict=True), start=1):
        alarm.update(vector, label)
        if alarm.alarm:
            return number
    raise AssertionError(f"no alarm in {len(vectors)} frames")


@pytest.mark.parametrize("order", ["as drawn", "sorted", "in runs"])
def test_streams_of_the_source_sound_no_alarm_in_whatever_order_the_classes_come(
    source: Calibration, order: str
) -> None:
    """20 streams at 0.05: more than 4 alarms have a chance under 0.003 if the level is kept."""
    alarms = 0
    for seed in range(20):
        vectors, labels = frames(600, seed=100 + seed)
        if order == "sorted":
            place = np.argsort(labels, kind="stable")
            vectors, labels = vectors[place], labels[place]
        elif order == "in runs":
            place = np.concatenate([np.flatnonzero(labels == k)[:60] for k in (2, 0, 1)])
            vectors, labels = vectors[place], labels[place]
        alarms += played(source, vectors, labels, alpha=0.05).alarm
    assert alarms <= 4


def test_without_the_classes_a_sorted_stream_would_sound_it(source: Calibration) -> None:
    vectors, labels = frames(600, seed=5)
    place = np.argsort(labels, kind="stable")
    blind = replace(source, class_signatures=np.tile(source.signature_mean, (CLASSES, 1)))
    assert played(blind, vectors[place], labels[place]).alarm


def test_the_null_is_the_tolerance_and_at_its_edge_the_level_holds(source: Calibration) -> None:
    """Every frame lies just the tolerance away, in one direction: no more alarms than alpha allows."""
    step = whitened_step(source, float(source.drift_tolerance[0]))
    vectors = [frames(400, seed=200 + n) for n in range(20)]
    edge = sum(played(source, v + step, k, alpha=0.1).alarm for v, k in vectors)
    beyond = sum(played(source, v + 4.0 * step, k, alpha=0.1).alarm for v, k in vectors)
    assert edge <= 6
    assert beyond == 20


def whitened_step(source: Calibration, length: float) -> FloatArray:
    """A difference of features [S] that is so long once whitened, in a quiet direction."""
    vector = np.where(np.arange(SIZE) % 2, 1.0, -1.0) * source.signature_std
    size = np.sqrt(np.mean(whitening.whiten(vector, source) ** 2))
    return np.asarray(vector * length / size, dtype=np.float32)


@pytest.mark.parametrize("before", [0, 2000])
def test_drift_is_seen_within_a_few_dozen_frames_and_late_drift_little_later(
    source: Calibration, before: int
) -> None:
    alarm = played(source, *frames(before, seed=7))
    vectors, labels = frames(200, seed=8)
    assert frames_until(alarm, vectors + whitened_step(source, 0.5), labels) <= (40 if not before else 80)


def test_an_alarm_stays_on_until_the_restart_and_p_is_one_over_the_largest_e(source: Calibration) -> None:
    vectors, labels = frames(100, seed=9)
    alarm = played(source, vectors + whitened_step(source, 1.0), labels)
    assert alarm.alarm
    assert alarm.p_value <= alarm.alpha
    for vector, label in zip(*frames(2000, seed=10), strict=True):
        alarm.update(vector, int(label))
    assert alarm.e_value < 1.0 / alarm.alpha, "evidence against the drift has come in"
    assert alarm.alarm
    alarm.restart()
    assert (alarm.alarm, alarm.frames, alarm.e_value, alarm.p_value) == (False, 0, 1.0, 1.0)


def test_a_still_scene_counts_as_one_frame(source: Calibration) -> None:
    """One usual frame, a thousand times, with a little noise of the sensor."""
    vectors, labels = frames(1, seed=11)
    noise = np.random.default_rng(1).normal(size=(1000, SIZE)) * 0.01
    still = (vectors + noise).astype(np.float32)
    alarm = played(source, still, np.repeat(labels, 1000))
    assert (alarm.frames, alarm.repeats) == (1, 999)
    assert not alarm.alarm


def test_what_is_no_number_is_ignored_and_huge_values_are_harmless(source: Calibration) -> None:
    alarm = DriftAlarm.of(source)
    for value in (np.nan, np.inf, -np.inf):
        alarm.update(np.full(SIZE, value, np.float32), 0)
    assert alarm.frames == 0
    vectors, labels = frames(300, seed=12)
    vectors[::50] = 3e38
    alarm = played(source, vectors, labels)
    assert np.isfinite(alarm.e_value)
    assert not alarm.alarm, "six odd frames among 300 are no drift"


def test_a_source_that_is_constant_gives_defined_values() -> None:
    calibration = replace(bundles.calibration(), signature_std=np.zeros(4, np.float32))
    alarm = DriftAlarm.of(calibration)
    for _ in range(50):
        alarm.update(calibration.signature_mean, 1)
    assert (alarm.alarm, alarm.e_value) == (False, 1.0)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, float("nan")])
def test_a_level_that_is_none_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        DriftAlarm.of(bundles.calibration(), alpha)


def test_the_tolerance_grows_where_classes_are_known_by_few_frames() -> None:
    many, few = frames(6000, seed=20), frames(150, seed=20)
    found = []
    for features, labels in (many, few):
        calibration = replace(
            bundles.calibration(),
            signature_mean=features.mean(axis=0),
            signature_std=features.std(axis=0),
            class_signatures=class_means(features, labels, CLASSES),
            signature_whitening=whitening.fit(features),
        )
        found.append(drift.tolerance(features, labels, labels, calibration))
    assert 0.05 <= found[0] < found[1] < 0.6


def a_scene(source: Calibration, things: int, count: int, seed: int) -> tuple[FloatArray, Labels]:
    """Usual frames of one class, seen in turns; each time they differ by a fiftieth of the deviations."""
    rng = np.random.default_rng(seed)
    vectors, labels = frames(20 * things, seed=seed)
    usual = np.flatnonzero(labels == seed % CLASSES)[:things]
    seen = rng.choice(usual, size=count)
    noise = 0.02 * source.signature_std * rng.normal(size=(count, SIZE))
    return (vectors[seen] + noise).astype(np.float32), labels[seen]


@pytest.mark.parametrize("things", [1, 4, 20, 60])
def test_a_scene_of_a_few_things_seen_in_turns_is_no_drift(source: Calibration, things: int) -> None:
    """Eight scenes of 500 frames one after the other, at home all the time."""
    alarms = 0
    alarm = DriftAlarm.of(source)
    for scene in range(8):
        for vector, label in zip(*a_scene(source, things, 500, seed=300 + scene), strict=True):
            alarm.update(vector, int(label))
            if alarm.alarm:
                alarms += 1
                alarm.restart()
    assert alarms == 0


def test_scenes_of_another_domain_are_drift(source: Calibration) -> None:
    """What repeats is left out, what is new counts: each scene brings as much as it shows."""
    step = whitened_step(source, 1.0)
    vectors, labels = zip(*[a_scene(source, 20, 60, seed=400 + scene) for scene in range(8)], strict=True)
    alarm = played(source, np.concatenate(vectors) + step, np.concatenate(labels))
    assert alarm.alarm
    assert alarm.repeats > 100
