"""The evidence of a trial: what proves harm, what proves the contrary, and how often either is wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.signature import probe_distance
from edgeadapt.tensors import FloatArray
from edgeadapt_device.config import ProbeSection, TrialSection
from edgeadapt_device.core.adapt.trial import Candidate, Seen, Trial
from tests.device import rig
from tests.device.rig import Rig, sealed

CLASSES = 10
NOW = Instant(0.0, 0.0)


def _trial(config: TrialSection | None = None) -> Trial:
    trial = Trial(config if config is not None else TrialSection(share=1.0), CLASSES)
    trial.start(Candidate("c", 1, "d", ""), NOW, settles=False)
    trial.ready()
    return trial


def _sure(label: int, logit: float = 9.0) -> FloatArray:
    logits = np.zeros(CLASSES, np.float32)
    logits[label] = logit
    return logits


def _judged(pairs: list[tuple[FloatArray, FloatArray]], distances: tuple[float, float] = (1.0, 1.0)) -> str:
    """The verdict over (old, new) logits, looked at after each; it has to come before they end."""
    trial = _trial()
    for old, new in pairs:
        trial.observe(Seen(new, distances[1]), Seen(old, distances[0]))
        verdict = trial.verdict(NOW)
        if verdict is not None:
            return verdict
    raise AssertionError("no verdict")


LABELS = [int(k) for k in np.random.default_rng(1).integers(0, CLASSES, 400)]


def test_a_patch_under_which_the_model_is_less_sure_is_reverted() -> None:
    assert _judged([(_sure(k), _sure(k, 8.0)) for k in LABELS]) == ""
    verdict = _judged([(_sure(k), _sure(k, 3.0)) for k in LABELS])
    assert verdict.startswith("mean entropy rose from 0.01")
    assert "e-value" in verdict


def test_a_patch_under_which_few_classes_take_all_is_reverted() -> None:
    verdict = _judged([(_sure(k), _sure(k if k < 3 else 0)) for k in LABELS])
    assert verdict.startswith("predictions concentrated")


def test_a_patch_that_agrees_with_nothing_before_it_is_reverted() -> None:
    verdict = _judged([(_sure(k), _sure((k + 1) % CLASSES)) for k in LABELS])
    assert verdict.startswith("old and new agree on only 0%")


def test_a_patch_that_drives_the_models_inner_values_away_is_reverted() -> None:
    pairs = [(_sure(k), _sure(k)) for k in LABELS]
    assert _judged(pairs, (1.0, 1.1)) == ""
    assert _judged(pairs, (1.1, 0.2)) == "", "nearer is no harm"
    for far in (9.0, math.inf, math.nan):
        assert _judged(pairs, (1.0, far)).startswith("the model's inner values moved away")


def test_a_stream_of_one_class_is_no_concentration_when_the_old_generation_says_the_same() -> None:
    assert _judged([(_sure(4), _sure(4, 8.5)) for _ in LABELS]) == ""


def _noisy(rng: np.random.Generator, labels: list[int], right: float, logit: float) -> list[FloatArray]:
    """Predictions that name a frame's class with the chance `right`, with spread in how sure they are."""
    found = []
    for label in labels:
        named = label if rng.random() < right else int(rng.integers(0, CLASSES))
        noise = rng.normal(0.0, 1.0, CLASSES).astype(np.float32)
        found.append(_sure(named, logit) + noise)
    return found


def _verdicts(right: float, logit: float, trials: int, alpha: float) -> tuple[list[str | None], list[int]]:
    """Verdicts, and compared frames until each, of patches that behave so against an old generation."""
    rng = np.random.default_rng(11)
    verdicts: list[str | None] = []
    counts = []
    for _ in range(trials):
        trial = _trial(TrialSection(frames=150, share=1.0, min_compared=16, alpha=alpha))
        labels = [int(k) for k in rng.integers(0, CLASSES, 150)]
        verdict = None
        for old, new in zip(_noisy(rng, labels, 0.6, 4.0), _noisy(rng, labels, right, logit), strict=True):
            trial.observe(Seen(new), Seen(old))
            verdict = trial.verdict(NOW)
            if verdict is not None:
                break
        verdicts.append(verdict)
        counts.append(trial.evidence.frames)
    return verdicts, counts


def _entropy_rise(logit: float) -> float:
    """Mean rise, in units of ln K, of patches whose predictions are that much less sure."""
    rng = np.random.default_rng(13)
    labels = [int(k) for k in rng.integers(0, CLASSES, 3000)]
    trial = _trial()
    for old, new in zip(_noisy(rng, labels, 0.6, 4.0), _noisy(rng, labels, 0.6, logit), strict=True):
        trial.observe(Seen(new), Seen(old))
    return trial.evidence.lines[0].value


def test_harmless_patches_are_reverted_no_more_often_than_said_though_they_touch_a_bound() -> None:
    """The worst that is still no harm: the mean entropy rises by as much as it may."""
    logit = 3.55
    rise, bound = _entropy_rise(logit), TrialSection().max_entropy_rise
    assert 0.9 * bound < rise <= bound, "or this test shows little"
    alpha, trials = 0.2, 150
    verdicts, _ = _verdicts(0.6, logit, trials, alpha)
    reverted = sum(bool(v) for v in verdicts)
    assert reverted / trials <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / trials)


def test_good_patches_are_kept_before_their_frames_end_and_grossly_harmful_ones_go_soon() -> None:
    verdicts, counts = _verdicts(0.8, 4.5, 60, 0.05)
    assert verdicts.count("") == 60
    assert np.median(counts) < 120
    for right, logit in ((0.6, 1.0), (0.0, 0.5)):
        verdicts, counts = _verdicts(right, logit, 60, 0.05)
        assert all(verdicts)
        assert np.median(counts) < 40


def test_undecided_at_its_end_a_patch_is_kept_and_one_of_which_too_little_was_seen_is_not() -> None:
    config = TrialSection(frames=10, min_compared=4, deadline_s=60.0)
    trial = _trial(config)
    for k in range(10):
        assert trial.verdict(NOW) is None
        trial.observe(Seen(_sure(k)), Seen(_sure(k)))
    assert trial.verdict(NOW) == ""
    trial = _trial(config)
    trial.observe(Seen(_sure(1)), Seen(_sure(1)))
    for _ in range(50):
        trial.observe(Seen(_sure(1)), None)
    assert trial.verdict(Instant(59.0, 0.0)) is None
    assert trial.verdict(Instant(60.0, 0.0)) == "the trial's time ended with too few compared frames"


def test_one_that_seems_to_do_harm_when_its_frames_end_is_watched_on_until_that_is_proved() -> None:
    """A head whose classes are mixed up, but for one: old and new agree on one frame in nine."""
    trial = _trial(TrialSection(frames=60, share=1.0, min_compared=16))
    verdict: str | None = None
    while verdict is None:
        k = trial.frames % 9
        trial.observe(Seen(_sure(k if k == 8 else k + 1)), Seen(_sure(k)))
        verdict = trial.verdict(NOW)
    assert verdict.startswith("old and new agree on only 1")
    assert 60 < trial.frames < 240


def test_one_that_only_touches_a_bound_is_kept_in_the_end() -> None:
    trial = _trial(TrialSection(frames=44, share=1.0, min_compared=16))
    verdict: str | None = None
    while verdict is None:
        k = trial.frames % 11
        # They agree on two frames in eleven, which is less than a fifth, but is not proved to be.
        trial.observe(Seen(_sure(k % 10 if k in (5, 9) else (k + 1) % 10)), Seen(_sure(k % 10)))
        verdict = trial.verdict(NOW)
    assert (verdict, trial.frames) == ("", 176)


def test_the_evidence_is_in_the_outcome_and_in_the_status(tiny: Bundle) -> None:
    device = Rig(tiny)
    device.assign()
    assert device.device.view(device.now).evidence == ()
    device.publish(sealed(tiny, rig.harmful(tiny)))
    device.play(rig.frames(10))
    seen = device.device.view(device.now).evidence
    assert [line.check for line in seen] == [
        "entropy-rise",
        "concentration",
        "disagreement",
        "probe-distance",
    ]
    assert [line.frames for line in seen] == [10, 5, 10, 10]
    device.play(rig.frames(50, seed=2))
    reverted = device.outcomes[-1]
    assert reverted.state == "reverted"
    proof = {line.check: line for line in reverted.evidence}["disagreement"]
    assert proof.value == pytest.approx(1.0 - reverted.agreement)
    assert (proof.bound, proof.frames) == (0.8, reverted.frames)
    assert proof.e_harm >= 80.0 > proof.e_safe
    assert device.device.view(device.now).evidence == (), "it is over"


def test_a_device_that_probes_nothing_judges_without_inner_values(tiny: Bundle) -> None:
    trial = TrialSection(frames=200, share=1.0, min_compared=16, settle_frames=0)
    device = Rig(tiny, rig.config(probe=ProbeSection(share=0.0, young_frames=0), trial=trial))
    device.assign()
    device.publish(sealed(tiny, rig.harmless(tiny)))
    device.play(rig.frames(100))
    confirmed = device.outcomes[-1]
    assert confirmed.state == "confirmed"
    assert confirmed.frames < 100
    assert confirmed.evidence[-1].frames == 0


def test_the_probe_distance_is_in_source_deviations_over_all_layers(tiny: Bundle) -> None:
    calibration = tiny.calibration
    assert probe_distance(calibration.norm_mean, calibration) == 0.0
    away = calibration.norm_mean + 2.0 * np.sqrt(calibration.norm_var)
    assert probe_distance(away.astype(np.float32), calibration) == pytest.approx(2.0, rel=1e-4)
    broken = np.full_like(calibration.norm_mean, np.nan)
    assert probe_distance(broken, calibration) == math.inf
