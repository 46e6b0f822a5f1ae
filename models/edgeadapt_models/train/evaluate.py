"""Measuring a network: accuracy on clean and corrupted test images, as trained and with own statistics.

Invariants: nothing measured here was trained on (test split only); corrupted images depend only on the
dataset, the corruption, the severity and the seed; the network that is given is left unchanged.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeadapt_models.data import Dataset
from edgeadapt_models.data.corruptions import CORRUPTIONS, corrupt
from edgeadapt_models.zoo.base import Classifier
from edgeadapt_models.zoo.weights import DomainAccuracy, Measurement

STATISTICS_BATCH = 64
"""Images per forward pass while statistics are re-estimated."""

PREDICT_BATCH = 250


def to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Images uint8 [N, H, W, C] to float32 [N, C, H, W] in [0, 1]."""
    return torch.tensor(images).permute(0, 3, 1, 2).float().div_(255.0)


def _batches(images: NDArray[np.uint8], size: int) -> list[Tensor]:
    """The images as tensors of ``size`` images each; the last may be smaller."""
    return [to_tensor(images[start : start + size]) for start in range(0, len(images), size)]


@torch.inference_mode()
def predict(network: Classifier, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Most likely class of each image, int64 [N]; images uint8 [N, H, W, C]."""
    batches = _batches(images, PREDICT_BATCH)
    classes: NDArray[np.int64] = torch.cat([network(batch)[0].argmax(1) for batch in batches]).numpy()
    return classes


def accuracy(network: Classifier, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
    """Share of images whose most likely class is the label."""
    return float((predict(network, images) == labels).mean())


def has_statistics(network: nn.Module) -> bool:
    """Whether any layer normalises by running statistics."""
    return any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@torch.no_grad()
def with_own_statistics(network: Classifier, images: NDArray[np.uint8]) -> Classifier:
    """A copy whose running statistics are the mean over batches of these images (AdaBN, arXiv 1603.04779).

    Uses forward passes and no labels. Batches of `STATISTICS_BATCH`; a last batch that is smaller is left out
    unless it is the only one.
    """
    adapted = copy.deepcopy(network)
    for module in adapted.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
            module.train()
    batches = _batches(images, STATISTICS_BATCH)
    for batch in batches:
        if len(batch) == STATISTICS_BATCH or len(batches) == 1:
            adapted(batch)
    return adapted.eval()


def corrupted_test(
    dataset: Dataset, corruption: str, severity: int, limit: int, seed: int = 0
) -> NDArray[np.uint8]:
    """The first ``limit`` test images under a corruption, uint8 [limit, H, W, C].

    Raises:
        ConfigError: the corruption or severity is unknown.
    """
    generator = np.random.default_rng([seed, severity, *corruption.encode()])
    return corrupt(dataset.test_images[:limit], corruption, severity, generator)


def measure(
    network: Classifier,
    dataset: Dataset,
    *,
    severity: int = 5,
    limit: int = 2000,
    observe: Callable[[DomainAccuracy], None] = lambda domain: None,
) -> Measurement:
    """Accuracy on the whole clean test split and on ``limit`` images under each of the 15 corruptions.

    ``observe`` is given each domain as soon as it is measured.

    Raises:
        ConfigError: the severity is not 1 to 5.
    """
    labels = dataset.test_labels[:limit]
    domains: list[DomainAccuracy] = []
    for corruption in CORRUPTIONS:
        images = corrupted_test(dataset, corruption, severity, limit)
        adapted = None
        if has_statistics(network):
            adapted = round(accuracy(with_own_statistics(network, images), images, labels), 4)
        frozen = round(accuracy(network, images, labels), 4)
        domains.append(DomainAccuracy(corruption=corruption, frozen=frozen, own_statistics=adapted))
        observe(domains[-1])
    return Measurement(
        severity=severity,
        clean=round(accuracy(network, dataset.test_images, dataset.test_labels), 4),
        clean_images=len(dataset.test_labels),
        domain_images=len(labels),
        domains=tuple(domains),
    )
