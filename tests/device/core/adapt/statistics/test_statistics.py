"""The device's own statistics: guarded against odd frames and one-sided streams; built when worth it."""

from __future__ import annotations

import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.normstats import StatisticsConfig
from edgeadapt.tensors import FloatArray
from edgeadapt_device.config import ProbeSection
from edgeadapt_device.core.adapt.statistics import OwnStatistics
from edgeadapt_device.core.adapt.switching import Switching
from edgeadapt_device.core.effects import BuildGeneration, Effect
from tests.device import rig
from tests.device.rig import Rig


def _frame(bundle: Bundle, level: float, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Moments of a frame whose channels lie `level` source deviations above the source."""
    calibration = bundle.calibration
    noise = rng.normal(0.0, 0.3, calibration.norm_mean.shape)
    mean = calibration.norm_mean + (level + noise) * np.sqrt(calibration.norm_var)
    return mean.astype(np.float32), (mean**2 + calibration.norm_var).astype(np.float32)


def _away(bundle: Bundle, statistics: OwnStatistics) -> float:
    calibration = bundle.calibration
    return float(np.mean((statistics.current[0] - calibration.norm_mean) / np.sqrt(calibration.norm_var)))


def test_a_glitch_among_good_frames_is_left_out_and_a_window_of_new_ones_is_not(tiny: Bundle) -> None:
    rng = np.random.default_rng(1)
    clean, glitch, shifted = (OwnStatistics(tiny, StatisticsConfig()) for _ in range(3))
    for index in range(16):
        good = _frame(tiny, 1.0, rng)
        clean.add(*good, index % 10, "")
        glitch.add(*(_frame(tiny, 60.0, rng) if index == 7 else good), index % 10, "")
        shifted.add(*_frame(tiny, 60.0, rng), index % 10, "")
    for statistics in (clean, glitch, shifted):
        assert statistics.fold()
    assert _away(tiny, glitch) == pytest.approx(_away(tiny, clean), rel=0.1)
    assert _away(tiny, shifted) > 10.0


def test_numbers_that_are_not_finite_move_nothing(tiny: Bundle) -> None:
    rng = np.random.default_rng(1)
    statistics = OwnStatistics(tiny, StatisticsConfig())
    for index in range(16):
        mean, square = _frame(tiny, 1.0, rng)
        bad = mean if index % 2 else square
        bad[3] = (np.nan, np.inf, 3e38)[index % 3]
        statistics.add(mean, square, index % 10, "")
    before = statistics.current[0]
    statistics.fold()
    assert np.isfinite(statistics.current[0]).all()
    assert np.isfinite(statistics.current[1]).all()
    assert np.abs(statistics.current[0] - before).max() < 1e3


def test_moments_under_another_patch_do_not_count(tiny: Bundle) -> None:
    statistics = OwnStatistics(tiny, StatisticsConfig(frames_per_update=1))
    statistics.add(*_frame(tiny, 1.0, np.random.default_rng(1)), 0, "other")
    assert not statistics.due(young=False)


def test_what_a_session_gets_keeps_the_slots_bounds(tiny: Bundle) -> None:
    statistics = OwnStatistics(tiny, StatisticsConfig())
    size = tiny.manifest.probe_channels
    huge = np.full(size, 1e20, np.float32)
    values = statistics.values({}, (huge, huge))
    for slot in tiny.manifest.slots:
        if slot.name in values:
            assert values[slot.name].max() <= np.float32(slot.upper)
            assert values[slot.name].min() >= np.float32(slot.lower)
    assert values


def test_a_camera_that_shows_one_class_after_the_other_leaves_the_statistics_about_alone(
    tiny: Bundle,
) -> None:
    """At home: each class lies at another level, and together they are the source."""
    furthest = {}
    for guarded in (True, False):
        rng = np.random.default_rng(2)
        statistics = OwnStatistics(tiny, StatisticsConfig(diversity_guard=guarded))
        found = []
        for index in range(800):
            label = index // 40 % 10
            statistics.see(label, None, "")
            statistics.add(*_frame(tiny, (label * 3 % 10 - 4.5) / 2.0, rng), label, "")
            if statistics.due(young=True) and statistics.fold():
                found.append(abs(_away(tiny, statistics)))
        furthest[guarded] = max(found)
    assert furthest[True] < 0.5
    assert furthest[False] > 1.0


def test_off_means_off_though_everything_is_probed(tiny: Bundle) -> None:
    device = Rig(tiny, rig.config(statistics=StatisticsConfig(enabled=False)))
    device.play(rig.frames(200, level=0.7))
    core = device.device.core
    assert core.adaptation.statistics.updates == 0
    np.testing.assert_array_equal(core.adaptation.statistics.current[0], tiny.calibration.norm_mean)
    assert device.token == 1


def test_a_session_is_built_when_the_values_have_moved_and_not_before(tiny: Bundle) -> None:
    builds, updates = {}, {}
    for least in (0.0, 0.05, 1e3):
        device = Rig(tiny, rig.config(statistics=StatisticsConfig(min_move=least)))
        device.play(rig.frames(400, level=0.8))
        builds[least] = device.token - 1
        updates[least] = device.device.core.adaptation.statistics.updates
    assert builds[0.0] == updates[0.0] > builds[0.05] > 0
    assert builds[1e3] == 0
    assert min(updates.values()) > 20


def _switching(bundle: Bundle, share: float) -> tuple[Switching, OwnStatistics]:
    config = StatisticsConfig(min_move=0.0, build_share=share, frames_per_update=4)
    statistics = OwnStatistics(bundle, config)
    source = (bundle.calibration.norm_mean, bundle.calibration.norm_var)
    switching = Switching(statistics, source, config)
    (first,) = switching.start(switching.base)
    assert isinstance(first, BuildGeneration)
    switching.ready(first.token, Instant(0.0, 0.0))
    return switching, statistics


def _fold(bundle: Bundle, statistics: OwnStatistics, rng: np.random.Generator) -> None:
    for label in range(4):
        statistics.add(*_frame(bundle, 1.0, rng), label, "")
    assert statistics.fold()


def _builds(effects: list[Effect]) -> list[int]:
    return [effect.token for effect in effects if isinstance(effect, BuildGeneration)]


@pytest.mark.parametrize(("young", "wait_s"), [(False, 18.0), (True, 2.0)])
def test_building_takes_at_most_its_share_of_the_time(tiny: Bundle, young: bool, wait_s: float) -> None:
    """A build that took 2 s: the next one after 18 s at a tenth of the time, after 2 s at half of it."""
    rng = np.random.default_rng(1)
    switching, statistics = _switching(tiny, 0.1)
    _fold(tiny, statistics, rng)
    (token,) = _builds(switching.refresh(Instant(100.0, 0.0), young=young))
    switching.ready(token, Instant(102.0, 0.0))
    _fold(tiny, statistics, rng)
    assert not switching.refresh(Instant(102.0 + wait_s - 0.1, 0.0), young=young)
    assert _builds(switching.refresh(Instant(102.0 + wait_s + 0.1, 0.0), young=young))


def test_what_came_too_soon_is_built_as_soon_as_it_may_be_and_not_with_the_next_update(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first build of several seconds at the end of the frames that are all probed; then few are."""
    device = Rig(tiny, rig.config(probe=ProbeSection(share=0.001, young_frames=12)))
    local, builds = device.device, list[float]()
    with monkeypatch.context() as slow:
        slow.setattr(local, "_finish_builds", lambda now: None)
        device.play(rig.frames(12, level=0.8))
        asked_s = device.now.mono_s
        device.wait(5.0)
    local.tick(device.now)
    assert device.token == 2, "the first build for statistics has ended"
    ended_s, images = device.now.mono_s, rig.frames(1500, seed=2, level=0.8)
    for image in images:
        before = device.token
        device.play(image[None])
        if device.token != before:
            builds.append(device.now.mono_s)
    earliest_s = ended_s + 9.0 * (ended_s - asked_s)
    assert builds[0] >= earliest_s
    assert builds[0] - earliest_s < 10.0
    assert local.core.adaptation.statistics.updates > 2


def test_a_switch_does_not_wait_and_what_failed_is_tried_again(tiny: Bundle) -> None:
    rng = np.random.default_rng(1)
    switching, statistics = _switching(tiny, 0.001)
    _fold(tiny, statistics, rng)
    (token,) = _builds(switching.refresh(Instant(100.0, 0.0), young=False))
    switching.ready(token, Instant(110.0, 0.0))
    assert _builds(switching.to(switching.base)), "a switch is wanted at once"

    switching, statistics = _switching(tiny, 1.0)
    _fold(tiny, statistics, rng)
    (token,) = _builds(switching.refresh(Instant(100.0, 0.0), young=False))
    assert not switching.refresh(Instant(100.5, 0.0), young=False), "it is being built"
    switching.failed(token)
    assert _builds(switching.refresh(Instant(101.0, 0.0), young=False))


def test_a_jump_within_a_segment_is_followed_quickly(tiny: Bundle) -> None:
    """Too small for another domain, too large for chance: the estimate is relaxed."""
    device = Rig(tiny, rig.config(probe=ProbeSection(share=1.0)))
    device.play(rig.frames(900))
    statistics = device.device.core.adaptation.statistics
    before = statistics.current[0]
    slightly = rig.frames(160, seed=2, level=0.94)
    device.play(slightly)
    assert device.device.view(device.now).segment == 0, "or this test shows nothing"
    there = Rig(tiny)
    there.play(rig.frames(900, seed=3, level=0.94))
    target = there.device.core.adaptation.statistics.current[0]
    scale = np.sqrt(tiny.calibration.norm_var)
    step = np.linalg.norm((statistics.current[0] - before) / scale)
    assert step > 0.6 * np.linalg.norm((target - before) / scale)
