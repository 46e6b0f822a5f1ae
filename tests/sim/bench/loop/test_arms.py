"""The pair harness: a patch made by a (very simple) adapter reaches both devices as bytes."""

from __future__ import annotations

import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.patch import Evidence
from edgeadapt_cloud.core.jobs.job import ImageArray, JobRequest, JobResult, Verdict
from edgeadapt_models.compile import tiny_bundle, tiny_images
from edgeadapt_sim.bench.loop.arms import run_baselines, run_loop

FRAMES = 800


class NudgeAdapter:
    """Publishes the norm scales of the base, a little larger with every job, or refuses."""

    def __init__(self, bundle: Bundle, *, passes: bool) -> None:
        self._bundle, self._passes = bundle, passes

    def run(self, request: JobRequest, images: ImageArray, lanes: list[str]) -> JobResult:
        """Ends at once."""
        assert len(images) == len(lanes) == len(request.sample_ids)
        base = self._bundle.base_slots()
        values = {
            name: ((1.0 + 0.01 * request.job) * value).astype(np.float32)
            for name, value in base.items()
            if name.endswith(".weight")
        }
        verdict = Verdict(self._passes, (Evidence("nudge", 1.0, 0.5, self._passes),))
        published = values if self._passes else {}
        return JobResult(
            request.cohort, request.job, verdict, published, request.strategy, len(images), 0.1, b"", ""
        )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture(scope="module")
def frames() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    streams = {}
    for number, name in enumerate(("one", "two")):
        images, _ = tiny_images(FRAMES, seed=number + 10)
        dark = (images[60:] * 0.4).astype(np.uint8)  # another world after 60 frames
        streams[name] = np.concatenate([images[:60], dark])
    return streams


def test_a_published_patch_reaches_both_devices(
    bundle: Bundle, frames: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]
) -> None:
    adapter = NudgeAdapter(bundle, passes=True)
    result = run_loop(bundle, adapter, frames, strategy="nudge", seed=0, min_new=12)
    assert result.patches
    first = result.patches[0].digest
    for names in result.generations.values():
        assert names[0] == "base"
        assert any(first.startswith(name) for name in set(names) - {"base"})
    assert result.uploaded >= 12
    assert result.bytes_up > 0
    assert result.bytes_down > result.patches[0].size_bytes


def test_a_refusal_leaves_devices_alone_and_is_counted(
    bundle: Bundle, frames: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]
) -> None:
    adapter = NudgeAdapter(bundle, passes=False)
    result = run_loop(bundle, adapter, frames, strategy="nudge", seed=0, min_new=12)
    assert not result.patches
    assert result.jobs[0].state == "refused"
    assert result.jobs[0].failed == ("nudge",)
    assert all(set(names) == {"base"} for names in result.generations.values())
    _, statistics = run_baselines(bundle, frames, 0)
    for name in frames:
        assert np.mean(result.labels[name] == statistics.labels[name]) > 0.9


def test_baselines_cost_nothing(
    bundle: Bundle, frames: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]
) -> None:
    for result in run_baselines(bundle, frames, 0):
        assert (result.uploaded, result.bytes_up, result.bytes_down) == (0, 0, 0)
        assert all((labels >= 0).all() for labels in result.labels.values())
