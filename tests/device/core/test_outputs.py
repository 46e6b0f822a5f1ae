"""Outputs that are no logits are known as such, from tables and in a device that runs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.scoring import softmax
from edgeadapt.tensors import FloatArray
from edgeadapt_device.core.outputs import OutputWatch, doubt
from edgeadapt_device.io.engines.base import Frames, Scores
from edgeadapt_device.io.engines.onnx import OnnxSession
from tests.device import rig

RNG = np.random.default_rng(5)
LOGITS = RNG.normal(0.0, 3.0, (8, 10)).astype(np.float32)


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (softmax(LOGITS), "each row sums to 1"),
        (1.0 / (1.0 + np.exp(-LOGITS)), "between 0 and 1"),
        (np.repeat(LOGITS[:1], 8, axis=0), "the same whatever the frame"),
        (np.where(LOGITS > 4.0, np.nan, LOGITS), "not all finite"),
        (np.where(LOGITS > 4.0, np.inf, LOGITS), "not all finite"),
    ],
)
def test_what_is_odd(outputs: FloatArray, words: str) -> None:
    assert words in doubt(outputs.astype(np.float32), differ=True)


@pytest.mark.parametrize("outputs", [LOGITS, np.abs(LOGITS), LOGITS[:, :1], np.log(softmax(LOGITS))])
def test_what_is_not(outputs: FloatArray) -> None:
    assert doubt(outputs, differ=True) == ""


def test_a_still_picture_is_no_fault_of_the_model() -> None:
    watch = OutputWatch()
    for _ in range(40):
        watch.observe(LOGITS[0])
    assert watch.trouble == ""


def test_one_look_is_enough_but_not_at_numbers_that_are_none() -> None:
    watch = OutputWatch()
    for row in softmax(RNG.normal(0.0, 3.0, (31, 10)).astype(np.float32)):
        watch.observe(row)
    assert watch.trouble == ""
    watch.observe(softmax(LOGITS)[0])
    assert "sums to 1" in watch.trouble
    watch.observe(np.full(10, np.nan, np.float32))
    assert "on 1 frames" in watch.trouble


def test_a_frame_that_broke_is_forgiven_after_many_that_did_not() -> None:
    watch = OutputWatch()
    for row in LOGITS[:32]:
        watch.observe(row, 0.1)
    watch.observe(np.full(10, np.nan, np.float32), math.log(10))
    for _ in range(999):
        watch.observe(LOGITS[0], 0.1)
    assert "on 1 frames" in watch.trouble
    watch.observe(LOGITS[0], 0.1)
    assert watch.trouble == ""


def test_a_device_goes_on_with_numbers_that_are_none_and_says_so(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, real = rig.Rig(tiny), OnnxSession.run

    def breaks(session: OnnxSession, images: Frames, *, probe: bool) -> Scores:
        scores = real(session, images, probe=probe)
        return Scores(np.full_like(scores.logits, np.nan), scores.embedding, scores.mean, scores.mean_square)

    device.play(rig.frames(5))
    assert device.device.view(device.now).output_trouble == ""
    monkeypatch.setattr(OnnxSession, "run", breaks)
    device.play(rig.frames(20))
    view = device.device.view(device.now)
    assert (view.frames, view.flagged) == (25, 0)
    assert "on 20 frames" in view.output_trouble
    monkeypatch.setattr(OnnxSession, "run", real)
    device.play(rig.frames(20))
    assert device.generation == "base"
    assert np.isfinite(device.device.view(device.now).drift)
