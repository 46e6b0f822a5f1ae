"""Shifts are seen, one-sided streams are no shifts, and a domain that returns gets its patch back."""

from __future__ import annotations

import numpy as np

from edgeadapt.bundle import Bundle
from edgeadapt.digest import sha256_hex
from edgeadapt.signature import features
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import SignatureReport, unpack_vector
from edgeadapt_device.config import DomainsSection
from edgeadapt_device.core.adapt.domains import DomainTracker
from edgeadapt_device.core.events import Image
from edgeadapt_device.io.engines.onnx import OnnxEngine
from edgeadapt_models.compile.tiny import tiny_images
from tests.device import rig
from tests.device.rig import Rig, sealed

DARK = 0.5


def segment(device: Rig) -> int:
    return device.device.view(device.now).segment


def test_a_shift_begins_a_segment_within_a_window_and_the_device_tells_where_it_is(tiny: Bundle) -> None:
    device = Rig(tiny)
    device.play(rig.frames(200))
    assert segment(device) == 0
    answers = device.play(rig.frames(80, seed=2, level=DARK))
    began = [a.segment for a in answers].index(1)
    assert began < 24
    assert segment(device) == 1
    first, last = (m for m in device.received if isinstance(m, SignatureReport) and m.frames == 48)
    assert (first.segment, last.segment) == (0, 1)
    assert first.drift < 0.3
    assert last.drift > 2.0
    vector = unpack_vector(last.vector, len(tiny.calibration.signature_mean))
    assert np.abs(vector - tiny.calibration.signature_mean).max() > 0.1


def _features(bundle: Bundle, images: Image) -> tuple[FloatArray, list[int]]:
    scores = OnnxEngine(bundle).build({}).run(images, probe=True)
    assert scores.mean is not None
    assert scores.mean_square is not None
    return features(bundle.manifest, scores.mean, scores.mean_square), scores.logits.argmax(axis=1).tolist()


def test_a_stretch_of_one_class_is_not_a_shift_though_it_is_far_from_the_mean(tiny: Bundle) -> None:
    images, labels = tiny_images(1500, 5)
    vectors, predicted = _features(tiny, images)
    calibration = tiny.calibration
    away = [
        np.sqrt((((vectors[labels == k].mean(0) - vectors.mean(0)) / calibration.signature_std) ** 2).mean())
        for k in range(10)
    ]
    one_sided = int(np.argmax(away))
    config = DomainsSection()
    assert away[one_sided] > config.shift_distance, "or this test shows nothing"
    stretch = np.flatnonzero(labels == one_sided)

    def begins_segment(classes: list[int]) -> bool:
        tracker = DomainTracker(calibration, config, 10)
        order = [*range(300), *stretch[30:110].tolist()]
        return sum(tracker.observe(vectors[i], classes[i]) for i in order) > 0

    assert not begins_segment(predicted)
    assert begins_segment([0] * len(predicted)), "without the classes it would be taken for a new domain"


def test_a_device_follows_sorted_classes_within_one_segment(tiny: Bundle) -> None:
    device = Rig(tiny)
    device.play(rig.frames(150))
    images, labels = tiny_images(400, 9)
    device.play(images[np.argsort(labels, kind="stable")])
    assert segment(device) == 0


def test_a_single_odd_frame_is_not_a_shift(tiny: Bundle) -> None:
    device = Rig(tiny)
    device.play(rig.frames(100))
    device.play(np.full((1, 28, 28, 1), 255, np.uint8))
    device.play(rig.frames(50, seed=2))
    assert segment(device) == 0


def test_numbers_that_are_not_finite_are_not_learnt(tiny: Bundle) -> None:
    tracker = DomainTracker(tiny.calibration, DomainsSection(), 10)
    bad = np.full_like(tiny.calibration.signature_mean, np.nan)
    assert not sum(tracker.observe(bad, 0) for _ in range(200))
    assert (tracker.frames, tracker.segment) == (0, 0)


def test_a_shift_goes_back_to_the_base_and_a_returning_domain_gets_its_patch_offline(tiny: Bundle) -> None:
    device = Rig(tiny)
    device.play(rig.frames(100))
    device.play(rig.frames(80, seed=2, level=DARK))
    device.assign(segment=1)
    envelope = sealed(tiny, rig.harmless(tiny))
    device.publish(envelope)
    device.play(rig.frames(100, seed=3, level=DARK))
    assert [o.state for o in device.outcomes] == ["trial", "confirmed"]
    name = sha256_hex(envelope)[:12]
    assert device.generation == name

    device.play(rig.frames(80, seed=4))
    assert (segment(device), device.generation) == (2, "base")
    entry = device.device.core.adaptation.patches.bank.get(rig.COHORT)
    assert entry is not None
    assert entry.statistics is not None
    dark = OnnxEngine(tiny).build({}).run(rig.frames(100, seed=6, level=DARK), probe=True).mean
    assert dark is not None
    first = slice(0, tiny.manifest.norm_layers[0].channels)
    kept, source = entry.statistics[0][first], tiny.calibration.norm_mean[first]
    away = np.linalg.norm(kept - dark.mean(axis=0)[first])
    assert away < 0.5 * np.linalg.norm(source - dark.mean(axis=0)[first]), "what was learnt is remembered"

    device.device.disconnected(device.now)
    answers = device.play(rig.frames(80, seed=5, level=DARK))
    assert segment(device) == 3
    assert device.generation == name
    began = [a.segment for a in answers].index(3)
    assert [a.generation for a in answers].index(name, began) - began <= 25
    assert len(device.outcomes) == 2
    device.device.connected(device.now)
    device.sync()
    assert [o.state for o in device.outcomes] == ["trial", "confirmed", "reapplied"]
    assert device.outcomes[-1].patch == sha256_hex(envelope)


def test_another_domain_does_not_get_the_patch(tiny: Bundle) -> None:
    device = Rig(tiny)
    device.play(rig.frames(100))
    device.play(rig.frames(80, seed=2, level=DARK))
    device.assign(segment=1)
    device.publish(sealed(tiny, rig.harmless(tiny)))
    device.play(rig.frames(100, seed=3, level=DARK))
    bright = np.clip(rig.frames(120, seed=4).astype(np.int64) + 80, 0, 255).astype(np.uint8)
    device.play(bright)
    assert (segment(device), device.generation) == (2, "base")
    assert [o.state for o in device.outcomes] == ["trial", "confirmed"]
