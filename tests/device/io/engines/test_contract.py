"""What every engine must do, with every model that a bundle can hold for it. The reference is torch."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from edgeadapt.bundle import Bundle
from edgeadapt.errors import BundleError, TransportError
from edgeadapt.tensors import FloatArray
from edgeadapt_device.config import EngineSection
from edgeadapt_device.io.engines import Engine, Frames, engine_names, open_engine
from edgeadapt_models.compile import tiny_images, tiny_module
from edgeadapt_models.compile.runtime import to_input
from tests.device.io.engines.bundles import as_array, with_tflite

KINDS = [(name, precision) for name in engine_names() for precision in ("float32", "int8")]


class Open:
    """Opens one engine in one precision."""

    def __init__(self, name: str, precision: Literal["float32", "int8"]) -> None:
        self.precision = precision
        self._settings = EngineSection(runtime=name, precision=precision)

    def __call__(self, bundle: Bundle) -> Engine:
        return open_engine(bundle, self._settings)

    def close(self, found: FloatArray, wanted: FloatArray) -> None:
        """As near as the precision allows: integers are steps of a few thousandths of the largest value."""
        share = 1e-4 if self.precision == "float32" else 0.05
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=share * float(np.abs(wanted).max()))


@pytest.fixture(params=KINDS, ids=" ".join)
def opened(request: pytest.FixtureRequest) -> Open:
    return Open(*request.param)


@pytest.fixture(scope="module")
def images() -> Frames:
    return tiny_images(6, seed=9)[0]


def patched(bundle: Bundle, seed: int = 5) -> dict[str, FloatArray]:
    """Other values for every slot of a norm layer, and for the head."""
    rng = np.random.default_rng(seed)
    return {
        name: (value * rng.uniform(0.6, 1.4, value.shape) + (0 if name.endswith("var") else 0.1)).astype(
            np.float32
        )
        for name, value in bundle.base_slots().items()
        if name != "embedding_shift"
    }


def reference(values: dict[str, FloatArray], images: Frames) -> tuple[FloatArray, ...]:
    """Logits, embedding, mean and mean square of the norm layers' inputs, by torch."""
    module = tiny_module()
    state = {name: torch.from_numpy(value) for name, value in values.items()}
    module.load_state_dict(module.state_dict() | state)
    seen: list[torch.Tensor] = []
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        logits, embedding = module(torch.from_numpy(to_input(images)))
    moments = [torch.cat([(x**power).mean(dim=(2, 3)) for x in seen], dim=1) for power in (1, 2)]
    return tuple(each.numpy() for each in (logits, embedding, *moments))


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("values", [lambda bundle: {}, patched], ids=["base", "patched"])
def test_scores_and_moments_are_those_of_the_model_with_these_values(
    both: Bundle,
    opened: Open,
    images: Frames,
    count: int,
    values: Callable[[Bundle], dict[str, FloatArray]],
) -> None:
    chosen = values(both)
    session = opened(both).build(chosen)
    logits, embedding, mean, mean_square = reference(chosen, images[:count])
    for probe in (False, True, False):
        scores = session.run(images[:count], probe=probe)
        opened.close(scores.logits, logits)
        opened.close(scores.embedding, embedding)
        assert (scores.mean is None) == (scores.mean_square is None) == (not probe)
    probed = session.run(images[:count], probe=True)
    assert probed.mean is not None
    assert probed.mean_square is not None
    opened.close(probed.mean, mean)
    opened.close(probed.mean_square, mean_square)
    for value in msgspec.structs.astuple(probed):
        assert value.dtype == np.float32
        assert value.shape[0] == count


def test_answers_stay_when_the_next_frame_is_scored(both: Bundle, opened: Open, images: Frames) -> None:
    session = opened(both).build({})
    for probe in (False, True):
        first = session.run(images[:1], probe=probe)
        kept = [np.copy(value) for value in msgspec.structs.astuple(first) if value is not None]
        session.run(images[1:2], probe=probe)
        now = [value for value in msgspec.structs.astuple(first) if value is not None]
        for before, after in zip(kept, now, strict=True):
            np.testing.assert_array_equal(before, after)


def test_sessions_of_one_engine_do_not_touch_each_other(both: Bundle, opened: Open, images: Frames) -> None:
    engine = opened(both)
    old, new = engine.build({}), engine.build(patched(both))
    before = old.run(images, probe=False).logits
    assert np.abs(new.run(images, probe=False).logits - before).max() > 0.1
    np.testing.assert_array_equal(old.run(images, probe=False).logits, before)
    np.testing.assert_array_equal(engine.build({}).run(images, probe=False).logits, before)


def test_several_threads_may_use_one_session(both: Bundle, opened: Open) -> None:
    session = opened(both).build({})
    frames = tiny_images(40, seed=2)[0]
    alone = [session.run(frame[None], probe=False).logits for frame in frames]
    answers: dict[int, list[npt.NDArray[np.float32]]] = {}

    def work(number: int) -> None:
        answers[number] = [session.run(f[None], probe=bool(number % 2)).logits for f in frames for _ in "12"]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    for found in answers.values():
        opened.close(np.concatenate(found)[::2], np.concatenate(alone))


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("name", ["onnxruntime", "tflite"])
def test_a_model_of_arrays_takes_them_as_they_are(
    tiny: Bundle, images: Frames, name: str, last: bool
) -> None:
    opened = Open(name, "float32")
    session = opened(with_tflite(as_array(tiny), channels_last=last)).build({})
    arrays = to_input(images)
    for count in (1, 3):
        scores = session.run(arrays[:count], probe=False)
        opened.close(scores.logits, reference({}, images[:count])[0])


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((1, 28, 28, 3), np.uint8),
        np.zeros((1, 27, 28, 1), np.uint8),
        np.zeros((28, 28, 1), np.uint8),
        np.zeros((0, 28, 28, 1), np.uint8),
        np.zeros((1, 28, 28, 1), np.float32),
    ],
    ids=lambda frames: f"{frames.shape} {frames.dtype}",
)
def test_frames_of_another_kind_are_refused_and_the_next_one_is_scored(
    both: Bundle, opened: Open, images: Frames, frames: Frames
) -> None:
    session = opened(both).build({})
    before = session.run(images[:1], probe=False).logits
    with pytest.raises(TransportError, match=r"takes frames \[N, 28, 28, 1\] of uint8, got"):
        session.run(frames, probe=False)
    np.testing.assert_array_equal(session.run(images[:1], probe=False).logits, before)


def test_a_broken_model_is_a_bundle_error(both: Bundle, opened: Open) -> None:
    files = {name: b"\xff" * 64 + data[64:] for name, data in both.files.items()}
    with pytest.raises(BundleError, match="does not load"):
        opened(dataclasses.replace(both, files=files)).build({})


def test_a_model_is_tried_before_it_is_handed_out(both: Bundle, opened: Open) -> None:
    manifest = msgspec.structs.replace(both.manifest, embedding_dim=both.manifest.embedding_dim + 1)
    with pytest.raises(BundleError, match=r"embedding has shape \(1, 12\), the manifest says \[N, 13\]"):
        opened(dataclasses.replace(both, manifest=manifest)).build({})


def test_a_value_that_no_write_covers_is_a_bundle_error(both: Bundle, opened: Open) -> None:
    with pytest.raises(BundleError, match=r"norm9\.weight"):
        opened(both).build({"norm9.weight": np.ones(1, np.float32)})


def test_a_precision_that_the_bundle_lacks_is_said_with_those_it_has(tiny: Bundle) -> None:
    bundle = with_tflite(tiny)
    for name in engine_names():
        with pytest.raises(BundleError, match=f"no artifact for {name} int8; it has: .*{name} float32"):
            open_engine(bundle, EngineSection(runtime=name, precision="int8"))
        assert open_engine(bundle, EngineSection(runtime=name)).report.precision == "float32"


def test_integers_are_used_where_the_bundle_has_them(both: Bundle) -> None:
    for name in engine_names():
        assert open_engine(both, EngineSection(runtime=name)).report.precision == "int8"


def test_the_report_names_the_runtime_and_its_version(both: Bundle, opened: Open) -> None:
    engine = opened(both)
    engine.build({})
    assert any(char.isdigit() for char in engine.report.runtime)
    assert engine.report.refused == ()
    assert engine.report.text.startswith(f"{engine.report.runtime}, {opened.precision}, on ")
