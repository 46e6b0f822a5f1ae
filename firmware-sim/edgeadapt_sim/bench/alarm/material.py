"""What one network's probe says of clean and of corrupted test images: measured once, drawn from often."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeadapt.bundle import Bundle, read_folder
from edgeadapt.signature import features
from edgeadapt.tensors import FloatArray
from edgeadapt_device.config import EngineSection
from edgeadapt_device.io.engines import open_engine
from edgeadapt_models.compile import compile_pretrained
from edgeadapt_models.data import load
from edgeadapt_models.data.corruptions import corrupt
from edgeadapt_sim.bench.alarm.plan import AlarmPlan

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
_BATCH = 50


@dataclass(frozen=True, slots=True)
class Probed:
    """N images of one domain.

    Attributes:
        images: [N, H, W, C].
        vectors: [N, S] signature features.
        predicted: [N] classes, by the base model.
        labels: [N] true ones.
    """

    images: Images
    vectors: FloatArray
    predicted: Labels
    labels: Labels

    @property
    def accuracy(self) -> float:
        """0..1."""
        return float((self.predicted == self.labels).mean())


@dataclass(frozen=True, slots=True)
class Material:
    """One network: its bundle, clean test frames, and domains by (corruption, severity).

    `unchanged` is the base model's accuracy on the domains' images before they were corrupted.
    """

    network: str
    bundle: Bundle
    clean: Probed
    domains: Mapping[tuple[str, int], Probed]
    unchanged: float


def probed(bundle: Bundle, images: Images, labels: Labels) -> Probed:
    """Run the probe graph of the base model."""
    session = open_engine(bundle, EngineSection(precision="float32")).build({})
    vectors, predicted = [], []
    for start in range(0, len(images), _BATCH):
        scores = session.run(images[start : start + _BATCH], probe=True)
        if scores.mean is None or scores.mean_square is None:
            raise RuntimeError("the probe graph gave no moments")
        vectors.append(features(bundle.manifest, scores.mean, scores.mean_square))
        predicted.append(scores.logits.argmax(axis=1))
    return Probed(images, np.concatenate(vectors), np.concatenate(predicted), labels.astype(np.int64))


def gather(plan: AlarmPlan, network: str) -> Material:
    """Compile a network of the zoo, and probe test images that nothing was fitted on.

    Corrupted images are the test set's first in a random order, clean ones before a drift the others: no
    stream holds an image twice.
    """
    with tempfile.TemporaryDirectory(prefix="edgeadapt-bench-") as scratch:
        compile_pretrained(network, Path(scratch) / "bundle")
        bundle = read_folder(Path(scratch) / "bundle")
    dataset = load(network.split("/")[0])
    order = np.random.default_rng(0).permutation(len(dataset.test_images))
    images, labels = dataset.test_images[order], dataset.test_labels[order]
    first = slice(0, max(plan.frames, plan.device_frames))
    domains = {}
    for corruption in plan.corruptions:
        for severity in plan.severities:
            changed = corrupt(images[first], corruption, severity, np.random.default_rng(severity))
            domains[corruption, severity] = probed(bundle, changed, labels[first])
    clean = probed(bundle, images[first.stop :], labels[first.stop :])
    return Material(network, bundle, clean, domains, probed(bundle, images[first], labels[first]).accuracy)
