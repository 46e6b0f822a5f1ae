"""Which frames are probed: many when much is to be learnt, few when little is, all when the world jumps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.normstats import StatisticsConfig
from edgeadapt_device.config import DomainsSection, ProbeSection
from edgeadapt_device.core.adapt.statistics.glance import Watch, glance
from edgeadapt_device.core.adapt.statistics.probing import Probing
from edgeadapt_device.core.events import Image
from edgeadapt_models.compile.tiny import tiny_images
from tests.device import rig
from tests.device.rig import Rig

FRAMES = rig.frames(4000)


def _probing(**changes: float) -> Probing:
    config = ProbeSection(**{"share": 0.05, "young_frames": 40, "burst_frames": 20, **changes})  # type: ignore[arg-type]
    return Probing(config, 1, np.random.default_rng(1), young_frames=config.young_frames)


def _shares(probing: Probing, images: Image, *, uncertainty: float = 0.1) -> list[bool]:
    found = []
    for image in images:
        found.append(probing.wanted())
        probing.saw(image, uncertainty)
    return found


def test_all_of_the_first_frames_then_fewer_and_fewer_down_to_the_settled_share() -> None:
    found = np.array(_shares(_probing(), FRAMES))
    assert found[:40].all()
    assert 0.3 < found[40:100].mean() < 0.8
    assert 0.02 < found[1500:].mean() < 0.09


def test_a_new_segment_begins_again() -> None:
    probing = _probing()
    _shares(probing, FRAMES[:1000])
    probing.new_segment()
    assert all(_shares(probing, FRAMES[:40]))


def test_a_share_of_zero_probes_nothing() -> None:
    probing = _probing(share=0.0)
    assert not any(_shares(probing, FRAMES[:200]))
    assert not probing.enabled


@pytest.mark.parametrize("kind", ["darker", "noisy", "blurred", "unsure"])
def test_when_the_frames_change_all_of_a_sudden_all_are_probed_within_a_few(kind: str) -> None:
    probing = _probing()
    before = FRAMES[:1000]
    after: Image = FRAMES[1000:1040]
    uncertainty = 0.1
    if kind == "darker":
        after = (after * 0.6).astype(np.uint8)
    elif kind == "noisy":
        noise = np.random.default_rng(2).normal(0, 40, after.shape)
        after = np.clip(after + noise, 0, 255).astype(np.uint8)
    elif kind == "blurred":
        after = ((after.astype(np.uint16) + np.roll(after, 1, 2) + np.roll(after, 2, 2)) // 3).astype(
            np.uint8
        )
    else:
        uncertainty = 1.2
    _shares(probing, before)
    found = _shares(probing, after, uncertainty=uncertainty)
    assert all(found[24:34])
    assert sum(_shares(probing, before[:100])) < 60, "and a burst ends"


def test_after_a_jump_the_share_falls_slowly_as_in_a_new_segment() -> None:
    probing = _probing(young_frames=0, share=0.01)
    assert np.mean(_shares(probing, FRAMES[:1000])) < 0.05
    found = np.array(_shares(probing, (FRAMES[1000:2600] * 0.6).astype(np.uint8)))
    early, later = found[400:800].mean(), found[800:].mean()
    assert 0.03 < early < 0.2, early
    assert later < early


def test_frames_that_do_not_change_raise_hardly_an_alarm() -> None:
    watch = Watch()
    alarms = sum(watch.observe((0.1, *glance(image, 1))) for image in FRAMES)
    assert alarms <= 8


def test_a_stream_sorted_by_class_raises_fewer_alarms_than_it_has_changes() -> None:
    images, labels = tiny_images(4000, 3)
    order = np.concatenate([np.flatnonzero(labels == k % 10)[40 * (k // 10) :][:40] for k in range(60)])
    watch = Watch()
    alarms = sum(watch.observe((0.1, *glance(images[i], 1))) for i in order)
    assert alarms < 30, "windows there vary more, and that is followed"


def test_what_is_not_finite_is_not_looked_at() -> None:
    watch = Watch()
    for image in FRAMES[:100]:
        watch.observe((0.1, *glance(image, 1)))
    assert not any(watch.observe((math.nan, 1.0, 2.0, 3.0)) for _ in range(50))
    assert not watch.observe((math.inf, *glance(FRAMES[101], 1)))


@pytest.mark.parametrize("shape", [(5,), (3, 40), (2, 8, 8), (1, 1, 1), (224, 300, 3)])
def test_a_glance_takes_frames_of_any_shape(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    frame = rng.normal(50, 10, shape).astype(np.float32)
    mean, spread, grain = glance(frame, shape[-1] if len(shape) == 3 else 1)
    assert mean == pytest.approx(float(frame.mean()), rel=0.2)
    assert spread >= 0.0
    assert grain >= 0.0


def test_a_settled_device_sees_a_shift_about_as_soon_as_one_that_probes_all(tiny: Bundle) -> None:
    frugal = rig.config(probe=ProbeSection(share=0.02))
    began = []
    for settings in (rig.config(), frugal):
        device = Rig(tiny, settings)
        device.play(rig.frames(700))
        segments = [a.segment for a in device.play(rig.frames(80, seed=2, level=0.5))]
        began.append(segments.index(1))
    assert began[1] - began[0] <= 24


def test_with_statistics_off_only_the_domain_is_looked_at(tiny: Bundle) -> None:
    settings = rig.config(
        statistics=StatisticsConfig(enabled=False),
        probe=ProbeSection(share=0.02, young_frames=200),
        domains=DomainsSection(reference_frames=30),
    )
    device = Rig(tiny, settings)
    device.play(rig.frames(300))
    assert 30 <= device.device.core.adaptation.tracker.frames < 130, "frames that were probed"
    view = device.device.view(device.now)
    assert (view.updates, device.token) == (0, 1), "and no session is built"
    segments = [a.segment for a in device.play(rig.frames(80, seed=2, level=0.5))]
    assert segments[-1] == 1
