"""What is ONNX Runtime's own: execution providers, batches, one session for two graphs."""

from __future__ import annotations

import re
import warnings

import numpy as np
import onnxruntime
import pytest

from edgeadapt.bundle import Bundle, MomentInversion
from edgeadapt.errors import ConfigError, TransportError
from edgeadapt_device.config import EngineSection
from edgeadapt_device.io.engines import Frames, providers
from edgeadapt_device.io.engines.inputs import Frame
from edgeadapt_device.io.engines.onnx import OnnxEngine, OnnxSession
from edgeadapt_device.io.engines.providers import Providers, full_names
from edgeadapt_models.compile import tiny_images
from tests.device.io.engines.bundles import channels_last, fixed_batch


def images(count: int) -> Frames:
    return tiny_images(count, seed=4)[0]


def scores(bundle: Bundle, count: int, settings: EngineSection | None = None) -> list[np.ndarray]:
    """Logits and both moments."""
    found = OnnxEngine(bundle, settings).build({}).run(images(count), probe=True)
    assert found.mean is not None
    assert found.mean_square is not None
    return [found.logits, found.mean, found.mean_square]


@pytest.mark.parametrize("count", [1, 3, 8, 9])
@pytest.mark.parametrize("size", [1, 4])
def test_a_model_of_a_fixed_batch_takes_any_number_of_frames(tiny: Bundle, size: int, count: int) -> None:
    for found, wanted in zip(scores(fixed_batch(tiny, size), count), scores(tiny, count), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [1, 3])
def test_a_model_may_want_its_channels_last(tiny: Bundle, count: int) -> None:
    for found, wanted in zip(scores(channels_last(tiny), count), scores(tiny, count), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        EngineSection(single_session=True),
        EngineSection(optimization="none"),
        EngineSection(optimization="extended", threads=2),
    ],
    ids=["single", "none", "extended"],
)
def test_no_setting_changes_the_scores(tiny: Bundle, settings: EngineSection) -> None:
    for found, wanted in zip(scores(tiny, 2, settings), scores(tiny, 2), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_a_single_session_is_one_and_two_are_two(tiny: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, real = list[int](), Providers.open

    def counted(providers: Providers, model: bytes, options: object) -> object:
        opened.append(len(model))
        return real(providers, model, options)

    monkeypatch.setattr(Providers, "open", counted)
    OnnxEngine(tiny, EngineSection(single_session=True)).build({})
    assert len(opened) == 1
    OnnxEngine(tiny).build({})
    assert len(opened) == 3


def test_providers_have_short_and_full_names_and_each_counts_once() -> None:
    assert full_names(["cuda", "CUDAExecutionProvider", "TensorRT", "CoreML", "cpu"]) == (
        "CUDAExecutionProvider",
        "TensorrtExecutionProvider",
        "CoreMLExecutionProvider",
        "CPUExecutionProvider",
    )


def test_an_unknown_provider_is_answered_with_the_known_ones(tiny: Bundle) -> None:
    with pytest.raises(ConfigError, match=r"engine\.providers: unknown provider 'gpu'.*CPU, CUDA"):
        OnnxEngine(tiny, EngineSection(providers=("gpu",)))


def test_a_provider_that_is_not_in_the_build_is_reported_and_the_cpu_runs(tiny: Bundle) -> None:
    engine = OnnxEngine(tiny, EngineSection(providers=("CUDA",)))
    assert engine.report.device == "CUDAExecutionProvider"
    engine.build({}).run(images(1), probe=False)
    assert engine.report.device == "CPUExecutionProvider"
    (sentence,) = engine.report.refused
    assert sentence.startswith("CUDAExecutionProvider does not run: this build of ONNX Runtime has none")
    assert sentence in engine.report.text


def test_a_provider_that_the_runtime_drops_without_a_word_is_reported(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The runtime is told of a provider that it has but cannot start, and falls back by itself.
    real = onnxruntime.get_available_providers()
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", *real])
    engine = OnnxEngine(tiny, EngineSection(providers=("CUDA",)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.build({}).run(images(1), probe=False)
    assert engine.report.device == "CPUExecutionProvider"
    assert engine.report.refused == (
        "CUDAExecutionProvider does not run: it did not start; ONNX Runtime says why on stderr",
    )


def test_a_provider_that_cannot_open_the_model_is_reported_and_not_tried_again(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, real = list[str](), onnxruntime.InferenceSession

    def refuses_azure(model: bytes, options: object, *, providers: list[str], **rest: object) -> object:
        tried.append(providers[0])
        if providers[0] == "AzureExecutionProvider":
            raise RuntimeError("no such kernel\nand a long trace")
        return real(model, options, providers=providers, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuses_azure)
    engine = OnnxEngine(tiny, EngineSection(providers=("azure",)))
    engine.build({})
    assert tried == ["AzureExecutionProvider", "CPUExecutionProvider", "CPUExecutionProvider"]
    assert engine.report.refused == (
        "AzureExecutionProvider does not run: it could not open the model: no such kernel",
    )


def test_a_provider_that_leaves_every_operator_to_the_cpu_does_not_run(tiny: Bundle) -> None:
    # The only other one in the CPU build of the runtime is for operators that no model here has.
    engine = OnnxEngine(tiny, EngineSection(providers=("Azure",)))
    session = engine.build({})
    assert engine.report.device == "CPUExecutionProvider"
    (sentence,) = engine.report.refused
    assert re.fullmatch(r"AzureE\w+ does not run: it takes none of the model's [1-9]\d* operators", sentence)
    np.testing.assert_allclose(session.run(images(1), probe=False).logits, scores(tiny, 1)[0], rtol=1e-4)


@pytest.mark.parametrize(
    ("taken", "device", "refused"),
    [
        ({"AzureExecutionProvider": 3, "CPUExecutionProvider": 2}, "(3 of 5 operators)", ["CUDA"]),
        ({}, "", ["CUDA"]),
    ],
    ids=["some", "an older runtime does not tell"],
)
def test_another_provider_that_runs_is_said_and_scores_the_same(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch, taken: dict[str, int], device: str, refused: list[str]
) -> None:
    monkeypatch.setattr(providers, "_operators", lambda _: taken)
    engine = OnnxEngine(tiny, EngineSection(providers=("Azure", "CUDA")))
    found = engine.build({}).run(images(1), probe=False)
    assert engine.report.device == f"AzureExecutionProvider {device}".rstrip()
    assert [sentence.split("Exec")[0] for sentence in engine.report.refused] == refused
    np.testing.assert_allclose(found.logits, scores(tiny, 1)[0], rtol=1e-4, atol=1e-4)


def test_what_is_named_after_the_cpu_has_no_turn_and_that_is_said(tiny: Bundle) -> None:
    engine = OnnxEngine(tiny, EngineSection(providers=("CPU", "CUDA")))
    engine.build({})
    assert engine.report.device == "CPUExecutionProvider"
    (sentence,) = engine.report.refused
    assert sentence.startswith("CUDAExecutionProvider does not run: it is named after the CPU")


def test_what_a_run_meets_is_a_transport_error(tiny: Bundle) -> None:
    class Broken:
        def run(self, frames: Frames) -> list[np.ndarray]:
            raise MemoryError

    inversion: MomentInversion = tiny.inversion(tiny.artifact("onnxruntime"), {})
    session = OnnxSession(Frame(tiny.manifest.input), Broken(), Broken(), inversion)
    with pytest.raises(TransportError, match="inference failed: MemoryError"):
        session.run(images(1), probe=False)
