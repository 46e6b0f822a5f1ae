"""The study: int8 against float, network by network and domain by domain.

Both models of one bundle run in the device's own engine on the same frames: with the base's values, with
statistics of their own (each from its own probe, as on a device), and with one patch that serves both.
Frames that statistics settle on, uploads that a patch is taught with, and frames that accuracy is measured on
are different images of the test split.
"""

from __future__ import annotations

import functools
import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from edgeadapt import signature
from edgeadapt.bundle import Bundle, SlotValues
from edgeadapt.errors import ConfigError
from edgeadapt.normstats import (
    statistics_of_slots,
    statistics_slots,
)
from edgeadapt.tensors import FloatArray
from edgeadapt_device.config import EngineSection
from edgeadapt_device.io.engines import Engine, open_engine
from edgeadapt_models.compile import compile_pretrained
from edgeadapt_models.compile.targets import Target, TargetRequest
from edgeadapt_models.data import Dataset, load
from edgeadapt_models.data.corruptions import corrupt
from edgeadapt_models.zoo import weights_card
from edgeadapt_sim.bench.int8.patches import PatchMaker

STUDENTS = ("fashion-mnist/resnet8", "fashion-mnist/resnet20", "cifar10/resnet8")
CORRUPTIONS = ("fog", "contrast", "gaussian_noise")
CLEAN = "clean"
SEVERITY = 5
TOLERANCE = 0.01
"""What the accuracy may lose by 8 bits."""
SHIFT = 0.7
"""Distance of signatures, in source standard deviations, that devices take for another domain."""

PRECISIONS = ("float32", "int8")
_TARGETS: dict[str, Target] = {"onnxruntime": "onnx", "tflite": "tflite"}
_CALIBRATION = 1000
_PIECE = 16
_PRIOR = 16  # frames that the first statistics count as
_FLOOR = np.float32(1e-8)

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Int8Plan:
    """What to measure; raises ConfigError, on construction, for sizes that make no sense."""

    students: tuple[str, ...] = STUDENTS
    corruptions: tuple[str, ...] = CORRUPTIONS
    frames: int = 2000
    settling: int = 384
    uploads: int = 512
    steps: int = 60
    runtime: str = "onnxruntime"
    workers: int = 2

    def __post_init__(self) -> None:
        if (
            min(self.frames, self.settling, self.uploads - 96, self.steps, self.workers, len(self.students))
            < 1
        ):
            raise ConfigError(
                "expected students, steps, frames to settle and measure on, and more than 96 uploads"
            )


class Accuracies(msgspec.Struct, frozen=True):
    """Shares of frames that are classified rightly, 0 to 1, by precision."""

    float32: float
    int8: float

    @property
    def lost(self) -> float:
        """What int8 is below float32."""
        return self.float32 - self.int8


class Row(msgspec.Struct, frozen=True):
    """One network in one domain.

    Attributes:
        student: its name.
        domain: "clean", or a corruption at severity 5.
        frozen: with the base's values.
        own: with statistics of each model's own.
        patched: with the patch, and statistics of their own under it; None for clean frames.
        signature: distance of the two models' domain signatures, in source standard deviations.
        mean: largest difference of a channel's measured mean, in source standard deviations.
        deviation: largest relative difference of a channel's standard deviation.
        zeroed: scales that the patch sets to 0 because the integers cannot turn their sign.
    """

    student: str
    domain: str
    frozen: Accuracies
    own: Accuracies
    patched: Accuracies | None
    signature: float
    mean: float
    deviation: float
    zeroed: int


def pieces(plan: Int8Plan) -> list[tuple[str, str]]:
    """(student, domain) pairs; those of one student follow each other."""
    return [(student, domain) for student in plan.students for domain in (CLEAN, *plan.corruptions)]


def run_study(plan: Int8Plan, on_done: Callable[[str], None]) -> tuple[Row, ...]:
    """Measure everything on worker processes; `on_done` is told of every piece that is finished.

    Raises:
        ConfigError: weights, a data set or a corruption are not there.
    """
    rows: dict[tuple[str, str], Row] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(plan.workers, mp_context=context, initializer=_one_thread) as pool:
        futures = {pool.submit(measure, plan, *piece): piece for piece in pieces(plan)}
        try:
            for future in as_completed(futures):
                rows[futures[future]] = future.result()
                on_done(" in ".join(futures[future]))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return tuple(rows[piece] for piece in pieces(plan))


def measure(plan: Int8Plan, student: str, domain: str) -> Row:
    """What a worker does: one network in one domain."""
    bench = _bench(student, plan.steps, plan.runtime)
    images, labels = bench.images(domain, 0, plan.frames)
    settling, _ = bench.images(domain, plan.frames, plan.settling)
    patch: dict[str, FloatArray] = {}
    if domain != CLEAN:
        uploads = bench.images(domain, plan.frames + plan.settling, plan.uploads)
        patch = bench.maker.make(*uploads, seed=plan.corruptions.index(domain))
    runs = {
        precision: _run(bench.bundle, bench.engines[precision], patch, settling, images, labels)
        for precision in PRECISIONS
    }
    plain, int8 = (runs[precision] for precision in PRECISIONS)
    deviation = np.sqrt(plain.var)
    alive = deviation > 1e-3 * np.sqrt(bench.bundle.calibration.norm_var) + 1e-6
    source = np.maximum(np.sqrt(bench.bundle.calibration.norm_var), 1e-6)
    return Row(
        student,
        domain,
        Accuracies(plain.frozen, int8.frozen),
        Accuracies(plain.own, int8.own),
        Accuracies(plain.patched, int8.patched) if patch else None,
        signature.distance(plain.signature, int8.signature, bench.bundle.calibration),
        float((np.abs(plain.mean - int8.mean) / source)[alive].max()),
        float(np.abs(np.sqrt(int8.var[alive]) / deviation[alive] - 1.0).max()),
        sum(int((patch[layer.scale] == 0).sum()) for layer in bench.bundle.manifest.norm_layers if patch),
    )


@dataclass(frozen=True, slots=True)
class _Bench:
    """One student, ready."""

    dataset: Dataset
    bundle: Bundle
    engines: dict[str, Engine]
    maker: PatchMaker

    def images(self, domain: str, start: int, count: int) -> tuple[Images, npt.NDArray[np.int64]]:
        """`count` test images of the domain from number `start` on, and their labels."""
        images = self.dataset.test_images[start : start + count]
        labels = self.dataset.test_labels[start : start + count]
        if len(images) < count:
            raise ConfigError(f"{self.dataset.name} has only {len(self.dataset.test_images)} test images")
        if domain != CLEAN:
            generator = np.random.default_rng([start, *domain.encode()])
            images = corrupt(images, domain, SEVERITY, generator)
        return images, labels


@functools.lru_cache(maxsize=1)
def _bench(student: str, steps: int, runtime: str) -> _Bench:
    dataset = load(weights_card(student).recipe.dataset)
    with tempfile.TemporaryDirectory(prefix="edgeadapt-int8-") as scratch:
        request = TargetRequest(frozenset({_TARGETS[runtime]}), int8=True)
        bundle = compile_pretrained(
            student, Path(scratch) / "bundle", images=_CALIBRATION, targets=request
        ).bundle
    engines = {
        precision: open_engine(bundle, EngineSection(runtime, precision))  # type: ignore[arg-type]
        for precision in PRECISIONS
    }
    return _Bench(dataset, bundle, engines, PatchMaker(student, dataset, bundle, steps=steps))


@dataclass(frozen=True, slots=True)
class _Run:
    """One model: accuracies, and what its probe measured under the base's affine values."""

    frozen: float
    own: float
    patched: float
    signature: FloatArray
    mean: FloatArray
    var: FloatArray


def _run(
    bundle: Bundle,
    engine: Engine,
    patch: SlotValues,
    settling: Images,
    images: Images,
    labels: npt.NDArray[np.int64],
) -> _Run:
    def accuracy(values: SlotValues) -> float:
        session = engine.build(values)
        parts = [session.run(images[i : i + 250], probe=False).logits for i in range(0, len(images), 250)]
        return float((np.concatenate(parts).argmax(axis=1) == labels).mean())

    own, vector = _settle(bundle, engine, {}, settling)
    patched = accuracy(_settle(bundle, engine, patch, settling)[0]) if patch else 0.0
    mean, var = statistics_of_slots(
        bundle.manifest, dict(own), bundle.calibration.norm_mean, bundle.calibration.norm_var
    )
    return _Run(accuracy({}), accuracy(own), patched, vector, mean, var)


def _settle(
    bundle: Bundle, engine: Engine, patch: SlotValues, frames: Images
) -> tuple[dict[str, FloatArray], FloatArray]:
    """Slot values with statistics that settled on the frames, and the frames' signature vector.

    A plain average over all frames so far that starts at the source's, or at the patch's: what a device's own
    is without its guards. A session is built for every few frames.
    """
    manifest, calibration = bundle.manifest, bundle.calibration
    mean, var = statistics_of_slots(manifest, dict(patch), calibration.norm_mean, calibration.norm_var)
    square, seen = var + mean**2, _PRIOR
    features: list[FloatArray] = []
    for index in range(0, len(frames), _PIECE):
        values = {**patch, **statistics_slots(manifest, mean, np.maximum(square - mean**2, _FLOOR))}
        scores = engine.build(values).run(frames[index : index + _PIECE], probe=True)
        assert scores.mean is not None
        assert scores.mean_square is not None
        features.append(signature.features(manifest, scores.mean, scores.mean_square))
        share = len(scores.mean) / (seen + len(scores.mean))
        seen += len(scores.mean)
        mean = mean + share * (scores.mean.mean(axis=0) - mean)
        square = square + share * (scores.mean_square.mean(axis=0) - square)
    values = {**patch, **statistics_slots(manifest, mean, np.maximum(square - mean**2, _FLOOR))}
    return values, np.concatenate(features).mean(axis=0)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
