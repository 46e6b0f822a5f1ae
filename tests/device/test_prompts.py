"""A patch with a prompt moves the first norm layer's input; to the device the world stays the same."""

from __future__ import annotations

import numpy as np
import pytest

from edgeadapt.bundle import Bundle, InputSpec
from edgeadapt.signature import distance, features
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import SignatureReport
from edgeadapt_device.core.events import Image
from edgeadapt_models.compile import compile_module, tiny_images, tiny_module
from edgeadapt_models.compile.extras.request import ExtrasRequest, parse_prompt
from edgeadapt_models.compile.runtime import Runner, frames_to_input
from edgeadapt_models.compile.source.frames import Frames
from edgeadapt_models.compile.tiny import CLASSES
from tests.device import rig
from tests.device.rig import Rig


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    images, labels = tiny_images(400)
    return compile_module(
        tiny_module(),
        name="tiny-prompt",
        classes=CLASSES,
        spec=InputSpec((1, 28, 28)),
        data=Frames(images, labels),
        out=tmp_path_factory.mktemp("prompt") / "b",
        extras=ExtrasRequest(parse_prompt("full")),
    ).bundle


def probe(bundle: Bundle, values: dict[str, FloatArray], images: Image) -> tuple[FloatArray, FloatArray]:
    model = bundle.probe_model(bundle.artifact("onnxruntime"), values)
    outputs = Runner(model).run(frames_to_input(bundle.manifest.input, images))
    return outputs["probe_mean"], outputs["probe_mean_square"]


def brighter(bundle: Bundle) -> dict[str, FloatArray]:
    """A prompt like a lamp at one side, with the first layer's statistics under it: predictions stay."""
    ramp = np.linspace(0.0, 0.5, 28, dtype=np.float32)
    values = {"input_prompt": np.broadcast_to(ramp, (1, 28, 28)).copy()}
    for layer in bundle.manifest.norm_layers:
        mean, square = probe(bundle, values, rig.frames(300, seed=4))
        part = slice(layer.probe_offset, layer.probe_offset + layer.channels)
        centre = mean[:, part].mean(axis=0)
        values |= {layer.mean: centre, layer.var: square[:, part].mean(axis=0) - centre**2}
    return values


def test_the_prompt_would_look_like_another_world(bundle: Bundle) -> None:
    """So that the tests below show something: the layer's own input moves far, the signature not at all."""
    images = rig.frames(100, seed=9)
    plain, patched = probe(bundle, {}, images), probe(bundle, brighter(bundle), images)
    assert bundle.manifest.signature_offset == bundle.manifest.layer_channels
    before, after = (features(bundle.manifest, *moments).mean(axis=0) for moments in (plain, patched))
    np.testing.assert_array_equal(before, after)
    width = bundle.manifest.norm_layers[0].channels
    layer = [m[:, :width] for m in patched]
    moved = np.concatenate([layer[0].mean(axis=0), np.sqrt(layer[1] - layer[0] ** 2).mean(axis=0)])
    assert distance(moved, before, bundle.calibration) > 2 * rig.config().domains.shift_distance


def test_a_prompt_on_a_steady_stream_is_no_shift(bundle: Bundle) -> None:
    device = Rig(bundle)
    device.play(rig.frames(200))
    device.assign()
    device.publish(rig.sealed(bundle, brighter(bundle)))
    device.play(rig.frames(600, seed=2))
    assert [outcome.state for outcome in device.outcomes] == ["trial", "confirmed"]
    assert device.generation != "base"
    assert device.device.view(device.now).segment == 0


def test_under_a_prompt_a_real_shift_is_seen_and_named_as_without(bundle: Bundle) -> None:
    """The domain behind the shift has the same signature whether or not a prompt ran when it began."""
    vectors: list[FloatArray] = []
    for values in ({}, brighter(bundle)):
        device = Rig(bundle)
        device.play(rig.frames(200))
        device.assign()
        if values:
            device.publish(rig.sealed(bundle, values))
        device.play(rig.frames(300, seed=2))
        assert device.device.view(device.now).segment == 0
        device.play(rig.frames(300, seed=3, level=0.5))
        assert device.device.view(device.now).segment == 1
        reports = [m for m in device.received if isinstance(m, SignatureReport) and m.segment == 1]
        vectors.append(np.frombuffer(reports[-1].vector, "<f4"))
    assert distance(vectors[0], vectors[1], bundle.calibration) < 0.3
