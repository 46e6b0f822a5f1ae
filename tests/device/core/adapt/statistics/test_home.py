"""At home, in whatever order the classes come; and elsewhere, though the model names but few of them."""

from __future__ import annotations

import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.tensors import FloatArray
from edgeadapt_device.core.adapt.domains import Home
from edgeadapt_device.core.events import Image
from edgeadapt_models.compile.tiny import tiny_images
from tests.device import rig
from tests.device.rig import Rig, sealed


def alone(label: int, count: int) -> Image:
    """Frames of one class."""
    images, labels = tiny_images(10 * count, seed=5)
    kept: Image = images[labels == label]
    return kept


def darker(images: Image) -> Image:
    """The same in another domain."""
    return (images * 0.6).astype(np.uint8)


@pytest.mark.parametrize("label", [1, 4, 6, 7])
def test_one_class_alone_is_at_home_and_is_not_in_the_dark(tiny: Bundle, label: int) -> None:
    at_home, elsewhere = Rig(tiny), Rig(tiny)
    at_home.play(alone(label, 60))
    elsewhere.play(darker(alone(label, 60)))
    assert at_home.device.core.adaptation.home.nearness > 0.9
    assert elsewhere.device.core.adaptation.home.nearness < 0.35, "2 deviations at most are counted"


@pytest.mark.parametrize("label", [0, 2, 7])
def test_a_camera_that_shows_one_class_for_long_does_not_unlearn_it(tiny: Bundle, label: int) -> None:
    """Of a weak model: a fifth of the predictions are wrong, and look like other classes."""
    device = Rig(tiny)
    answers = device.play(alone(label, 300))
    right = np.array([answer.label == label for answer in answers])
    assert device.device.core.adaptation.statistics.updates > 10, "or this test shows nothing"
    assert right[:50].mean() > 0.6
    assert right[-100:].mean() > right[:50].mean() - 0.1


def test_what_is_not_at_home_is_followed_in_whatever_order_it_comes(tiny: Bundle) -> None:
    images, labels = tiny_images(600, seed=5)
    device = Rig(tiny)
    device.play(darker(images[np.argsort(labels, kind="stable")]))
    mean, scale = device.device.core.adaptation.statistics.current[0], np.sqrt(tiny.calibration.norm_var)
    assert float(np.sqrt(np.mean(((mean - tiny.calibration.norm_mean) / scale) ** 2))) > 0.15


def test_frames_that_are_no_numbers_are_ignored_and_a_new_segment_knows_nothing(tiny: Bundle) -> None:
    calibration = tiny.calibration
    home = Home(calibration)
    assert home.nearness == 0.0
    for _ in range(8):
        home.observe(np.full_like(calibration.signature_mean, np.nan), 3)
        home.observe(np.full_like(calibration.signature_mean, np.inf), 3)
    assert home.nearness == 0.0
    home.observe(calibration.class_signatures[3], 3)
    assert home.nearness > 1.0
    for _ in range(200):
        home.observe(np.full_like(calibration.signature_mean, 3e38), 3)
    assert 0.0 < home.nearness < 0.3, "2 deviations at most are counted"
    home.restart()
    assert home.nearness == 0.0


@pytest.mark.parametrize("label", [1, 4, 7])
def test_one_class_at_home_is_not_taken_for_a_remembered_domain_that_looks_like_it(
    tiny: Bundle, label: int
) -> None:
    """Such as a patch for a slight noise, whose domain lies a little off the source, too."""
    device, calibration = Rig(tiny), tiny.calibration
    bank = device.device.core.adaptation.patches.bank
    envelope = sealed(tiny, rig.harmless(tiny))
    entry = bank.put(rig.opened(envelope), envelope)
    entry.signature = calibration.class_signatures[label]
    bank.confirm(entry)
    assert bank.nearest(features_of(tiny, alone(label, 30)), 0.6) is entry, "or this test shows nothing"
    answers = device.play(alone(label, 100))
    assert {answer.generation for answer in answers} == {"base"}


def features_of(bundle: Bundle, images: Image) -> FloatArray:
    """Their signature, as a device reports it."""
    device = Rig(bundle)
    device.play(images)
    return device.device.core.adaptation.tracker.signature.vector
