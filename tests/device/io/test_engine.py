"""Inference through a real ONNX Runtime on a tiny compiled bundle."""

from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.errors import BundleError, ConfigError, TransportError
from edgeadapt_device.core.events import Image
from edgeadapt_device.io.engine import OnnxEngine, OnnxSession, check_shape
from edgeadapt_models.compile import tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("engine") / "bundle")


def frames(bundle: Bundle, count: int) -> Image:
    spec = bundle.manifest.input
    rng = np.random.default_rng(7)
    return rng.integers(0, 256, (count, spec.height, spec.width, spec.channels), dtype=np.uint8)


@pytest.mark.parametrize("single", [False, True])
def test_scores_have_the_manifests_shapes_and_moments_only_when_probed(bundle: Bundle, single: bool) -> None:
    session = OnnxEngine(bundle, single_session=single).build({})
    images = frames(bundle, 3)
    plain, probed = session.run(images, probe=False), session.run(images, probe=True)
    assert plain.logits.shape == (3, len(bundle.manifest.classes))
    assert plain.embedding.shape == (3, bundle.manifest.embedding_dim)
    assert plain.mean is None
    assert plain.mean_square is None
    assert probed.mean is not None
    assert probed.mean_square is not None
    assert probed.mean.shape == probed.mean_square.shape == (3, bundle.manifest.probe_channels)
    assert {v.dtype for v in (probed.logits, probed.embedding, probed.mean)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(plain.logits, probed.logits, atol=1e-4)
    assert (probed.mean_square >= probed.mean**2 - 1e-4).all()


def test_frames_are_scaled_to_the_unit_interval_and_put_channel_first(bundle: Bundle) -> None:
    # The first norm layer follows a convolution, so scaling shows as linearity in the pixel values.
    session = OnnxEngine(bundle).build({})
    image = frames(bundle, 1)
    swapped = np.ascontiguousarray(image.transpose(0, 2, 1, 3))
    black = np.zeros_like(image)
    means = [session.run(i, probe=True).mean for i in (black, image // 2, (image // 2) * 2)]
    first = bundle.manifest.norm_layers[0]
    zero, half, whole = (m[0, : first.channels] for m in means if m is not None)
    np.testing.assert_allclose(whole - zero, 2 * (half - zero), atol=1e-4)
    assert (
        np.abs(session.run(image, probe=False).logits - session.run(swapped, probe=False).logits).max() > 1e-6
    )


def test_slot_values_change_the_scores_and_the_base_stays(bundle: Bundle) -> None:
    engine, images = OnnxEngine(bundle), frames(bundle, 2)
    slot = next(s for s in bundle.manifest.slots if s.kind == "norm_bias")
    value = bundle.base_slots()[slot.name] + np.float32(0.5)
    base = engine.build({}).run(images, probe=False).logits
    changed = engine.build({slot.name: value})
    assert np.abs(changed.run(images, probe=False).logits - base).max() > 1e-3
    assert np.abs(changed.run(images, probe=True).logits - base).max() > 1e-3
    np.testing.assert_array_equal(engine.build({}).run(images, probe=False).logits, base)


def test_a_broken_model_is_a_bundle_error(bundle: Bundle) -> None:
    artifact = bundle.artifact("onnxruntime")
    broken = dataclasses.replace(bundle, files={**bundle.files, artifact.file: b"\xff" * 64})
    with pytest.raises(BundleError, match="does not load"):
        OnnxEngine(broken).build({})


def test_a_manifest_that_does_not_fit_the_model_is_a_bundle_error(bundle: Bundle) -> None:
    manifest = msgspec.structs.replace(bundle.manifest, embedding_dim=bundle.manifest.embedding_dim + 1)
    with pytest.raises(BundleError, match="embedding"):
        OnnxEngine(dataclasses.replace(bundle, manifest=manifest)).build({})


def test_a_frame_of_another_size_is_refused_by_name_or_by_the_runtime(bundle: Bundle) -> None:
    spec = bundle.manifest.input
    check_shape(bundle, (spec.height, spec.width, spec.channels))
    with pytest.raises(ConfigError, match=rf"\(5, 7, 3\).*\({spec.height}, {spec.width}, {spec.channels}\)"):
        check_shape(bundle, (5, 7, 3))
    with pytest.raises(TransportError):
        OnnxEngine(bundle).build({}).run(np.zeros((1, 5, 7, spec.channels + 1), np.uint8), probe=False)


def test_what_a_run_meets_is_a_transport_error() -> None:
    class Broken:
        def run(self, names: list[str], inputs: dict[str, object]) -> list[object]:
            raise MemoryError

    session = OnnxSession("input", Broken(), Broken())
    with pytest.raises(TransportError, match="inference failed: MemoryError"):
        session.run(np.zeros((1, 4, 4, 1), np.uint8), probe=False)
