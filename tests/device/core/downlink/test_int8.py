"""A device with an int8 model: the same patches, but none that its integers cannot take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.normstats import statistics_slots
from edgeadapt.tensors import FloatArray
from edgeadapt_device.config import DeviceConfig, EngineSection
from edgeadapt_device.io.store import GenerationStore
from edgeadapt_models.compile.runtime import to_input
from edgeadapt_models.compile.targets import TargetRequest, extend
from edgeadapt_models.compile.tiny import tiny_images
from tests.device import rig
from tests.device.rig import Rig, sealed


@pytest.fixture(scope="module")
def both(tiny: Bundle) -> Bundle:
    """The tiny bundle with an int8 model beside the float one."""
    return extend(tiny, TargetRequest(int8=True), to_input(tiny_images(400)[0])).bundle


def settings(precision: str) -> DeviceConfig:
    return rig.config(engine=EngineSection(precision=precision))  # type: ignore[arg-type]


def turned(bundle: Bundle) -> dict[str, FloatArray]:
    """A patch that turns one sign."""
    scale = bundle.slots["norm2.weight"].copy()
    scale[3] *= -0.5
    return {"norm2.weight": scale}


def saturating(bundle: Bundle) -> dict[str, FloatArray]:
    """A patch within its bounds that lifts one channel beyond what 8 bits hold."""
    slot = bundle.slot("norm1.bias")
    assert slot is not None
    bias = bundle.slots["norm1.bias"].copy()
    bias[5] = slot.upper
    scale = bundle.slots["norm1.weight"].copy()
    scale[5] = np.sign(scale[5]) * 4 * np.abs(scale).max()
    return {"norm1.bias": bias, "norm1.weight": scale}


def test_the_best_model_of_a_bundle_is_int8_and_it_takes_patches(both: Bundle) -> None:
    first = rig.frames(1)
    device, named, plain = Rig(both), Rig(both, settings("int8")), Rig(both, settings("float32"))
    answers = [found.play(first)[0].probabilities for found in (device, named, plain)]
    np.testing.assert_array_equal(answers[0], answers[1])
    assert np.abs(answers[0] - answers[2]).max() > 0
    device.assign()
    device.publish(sealed(both, rig.harmless(both)))
    device.play(rig.frames(70))
    assert [outcome.state for outcome in device.outcomes] == ["trial", "confirmed"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (turned, "norm layer norm2: channel 3 would change its sign"),
        (saturating, "norm layer norm1: channel 5 would saturate"),
    ],
)
def test_what_the_integers_cannot_take_is_refused_and_reported(
    both: Bundle, make: object, words: str
) -> None:
    assert callable(make)
    patch = sealed(both, make(both))
    device = Rig(both)
    device.assign()
    before = device.token
    device.publish(patch)
    (outcome,) = device.outcomes
    assert outcome.state == "refused"
    assert outcome.reason.startswith("beyond-int8: model.int8.onnx: ")
    assert words in outcome.reason
    assert (device.generation, device.token) == ("base", before)
    floats = Rig(both, settings("float32"))
    floats.assign()
    floats.publish(patch)
    assert [o.state for o in floats.outcomes] == ["trial"]


def test_own_statistics_are_built_whatever_they_are(both: Bundle) -> None:
    """Dark and noisy frames move them far; every session is built, and they are the float device's."""
    noisy = rig.frames(160, level=0.3)
    noisy = np.clip(noisy + np.random.default_rng(0).normal(0, 60, noisy.shape), 0, 255).astype(np.uint8)
    found = {}
    for precision in ("float32", "int8"):
        device = Rig(both, settings(precision))
        before = device.token
        device.play(noisy)
        assert device.token != before
        assert not [line for line in device.device.log if "could not be built" in line]
        found[precision] = statistics_slots(both.manifest, *device.device.core.adaptation.statistics.current)
    for layer in both.manifest.norm_layers:
        plain, int8 = (found[precision] for precision in ("float32", "int8"))
        deviation = np.sqrt(plain[layer.var])
        assert (np.abs(plain[layer.mean] - int8[layer.mean]) < 0.1 * deviation).all()
        np.testing.assert_allclose(int8[layer.var], plain[layer.var], rtol=0.15)
        assert (np.abs(plain[layer.mean] - both.slots[layer.mean]) > 0.3 * deviation).any()


def test_a_stored_patch_that_int8_cannot_take_is_let_go(both: Bundle, tmp_path: Path) -> None:
    """Somebody changed the precision between two starts."""
    store = GenerationStore(tmp_path)
    first = Rig(both, settings("float32"), store=store)
    first.assign()
    barely = both.slots["norm2.weight"].copy()
    barely[3] *= -0.02
    first.publish(sealed(both, {"norm2.weight": barely}))
    first.play(rig.frames(70))
    assert [o.state for o in first.outcomes] == ["trial", "confirmed"]
    second = Rig(both, settings("int8"), store=GenerationStore(tmp_path))
    assert second.generation == "base"
    assert any("beyond-int8" in line for line in second.device.log)
    second.play(rig.frames(3))
