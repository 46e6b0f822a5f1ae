"""The frames of one domain: what a cohort sees, and held-out frames whose labels only the measuring sees.

Known frames come from the test split, which no network has learned from; those of the stream and those held
out are different images. Frames of no known class are pictures of CIFAR-10, grey and in the same size, and go
through the same corruption. Labels are in `Truth`; nothing that chooses, teaches or adapts gets one.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgeadapt.errors import ConfigError
from edgeadapt_models.data import Dataset, cifar10, load
from edgeadapt_models.data.corruptions import corrupt
from edgeadapt_models.data.locations import default_cache_dir, default_root
from edgeadapt_models.data.streams.domain import CLEAN
from edgeadapt_sim.bench.uplink.plan import UNKNOWN_SHARE, Domain, UplinkPlan

UNKNOWN = -1
"""Label of a frame that shows nothing of a known class."""
_RUN_FRAMES = 40

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Truth:
    """What only the measuring may see.

    Attributes:
        stream: [N] labels of the stream's frames; `UNKNOWN` for those of no known class.
        held_out: [M].
    """

    stream: Labels
    held_out: Labels


@dataclass(frozen=True, slots=True)
class Frames:
    """The pictures of one domain and seed.

    Attributes:
        stream: uint8 [N, H, W, C] in the order of time; of device d are those in `parts[d]`.
        parts: one slice of the stream per device.
        held_out: uint8 [M, H, W, C].
    """

    stream: Images
    parts: tuple[slice, ...]
    held_out: Images


def unknown_pictures() -> bool:
    """Whether there are pictures to mix in: CIFAR-10 is here."""
    return cifar10.find(default_root(cifar10.NAME), default_cache_dir()) is not None


def make_frames(plan: UplinkPlan, domain: Domain, seed: int) -> tuple[Frames, Truth]:
    """The frames of a domain; raises ConfigError when the data set has too few or CIFAR-10 is missing."""
    dataset = load(plan.dataset)
    rng = np.random.default_rng([seed, *domain.world.encode()])
    strangers = round(UNKNOWN_SHARE * plan.frames) if domain.unknown else 0
    known = plan.frames - strangers
    count = len(dataset.test_labels)
    if known + plan.held_out > count:
        raise ConfigError(
            f"{dataset.name} has {count} test images: {known} for the stream and {plan.held_out} held out "
            "are too many"
        )
    picked = rng.permutation(count)[: known + plan.held_out]
    images, labels = dataset.test_images[picked], dataset.test_labels[picked]
    shown, truth = _mixed(dataset, images[:known], labels[:known], strangers, rng)
    parts = _parts(plan)
    if domain.runs:
        order = np.concatenate([part.start + _in_runs(truth[part], rng) for part in parts])
        shown, truth = shown[order], truth[order]
    frames = Frames(
        _corrupted(shown, domain.world, rng), parts, _corrupted(images[known:], domain.world, rng)
    )
    return frames, Truth(truth, labels[known:])


def _mixed(
    dataset: Dataset, images: Images, labels: Labels, strangers: int, rng: np.random.Generator
) -> tuple[Images, Labels]:
    """Known frames with `strangers` among them, in random order."""
    if not strangers:
        return images, labels
    pictures = _grey(dataset.image_shape)
    if strangers > len(pictures):
        raise ConfigError(f"only {len(pictures)} pictures of no known class for {strangers}")
    picked = pictures[rng.permutation(len(pictures))[:strangers]]
    order = rng.permutation(len(images) + strangers)
    mixed = np.concatenate([images, picked])[order]
    return mixed, np.concatenate([labels, np.full(strangers, UNKNOWN)])[order]


@functools.lru_cache(maxsize=1)
def _grey(shape: tuple[int, int, int]) -> Images:
    """The test pictures of CIFAR-10 as uint8 [N, *shape]."""
    height, width, channels = shape
    colour = load(cifar10.NAME).test_images
    pictures = np.empty((len(colour), height, width, channels), np.uint8)
    mode = "L" if channels == 1 else "RGB"
    for number, picture in enumerate(colour):
        small = Image.fromarray(picture).convert(mode).resize((width, height), Image.Resampling.BILINEAR)
        pictures[number] = np.asarray(small).reshape(height, width, channels)
    return pictures


def _corrupted(images: Images, world: str, rng: np.random.Generator) -> Images:
    if world == CLEAN:
        return images
    name, severity = world.split(":")
    return corrupt(images, name, int(severity), rng)


def _parts(plan: UplinkPlan) -> tuple[slice, ...]:
    edges = np.linspace(0, plan.frames, plan.devices + 1).astype(int).tolist()
    return tuple(slice(first, last) for first, last in itertools.pairwise(edges))


def _in_runs(labels: Labels, rng: np.random.Generator) -> Labels:
    """An order [N] in which about `_RUN_FRAMES` frames of one class follow each other, then of another."""
    runs: list[Labels] = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        runs += np.array_split(members, max(len(members) // _RUN_FRAMES, 1))
    return np.concatenate([runs[place] for place in rng.permutation(len(runs))])
