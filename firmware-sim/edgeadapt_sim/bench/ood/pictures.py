"""The frames of a domain: known classes, near and far unknown ones, and what a model adapts on.

Invariants: all are under the same corruption; no test image has two uses; what depends on chance depends on
the seed and the domain only. Far unknown pictures are another real data set in this one's form, and synthetic
textures and noise, in equal shares; where the other data set is not installed, it is left out and not named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeadapt.errors import ConfigError
from edgeadapt_models.data import load
from edgeadapt_models.data.corruptions import corrupt
from edgeadapt_models.data.registry import listings
from edgeadapt_sim.bench.ood.plan import CLEAN, OodPlan
from edgeadapt_sim.bench.ood.students import Student

Images = npt.NDArray[np.uint8]
_LUMA = np.array([0.299, 0.587, 0.114])
_OTHER = {"fashion-mnist": "cifar10", "cifar10": "fashion-mnist"}


@dataclass(frozen=True, slots=True)
class Pictures:
    """Frames of one domain, uint8 [N, H, W, C] each.

    Attributes:
        known: of known classes, to be measured.
        labels: [N] of those.
        near: of held-out classes.
        far: of other data.
        settling: what statistics settle on, in the order of a stream; some are unknown.
        uploads: what a patch is taught with; some are unknown.
        reserved: of known classes, for knots.
        mixed: uploads that nothing is taught with, for knots; some are unknown.
    """

    known: Images
    labels: npt.NDArray[np.int64]
    near: Images
    far: Images
    settling: Images
    uploads: Images
    reserved: Images
    mixed: Images


class Gallery:
    """All frames of one student's domains."""

    def __init__(self, student: Student, plan: OodPlan, seed: int) -> None:
        self._plan, self._seed = plan, seed
        known, whole = student.known, student.whole
        near = whole.test_images[np.isin(whole.test_labels, student.held_out)]
        rng = np.random.default_rng([seed, 7])
        near = near[rng.permutation(len(near))]
        sets = far_sets(whole.name, whole.image_shape, 2 * plan.unknown, seed)
        self.far_sets = tuple(sets)
        far = np.concatenate(list(sets.values()))
        far = far[rng.permutation(len(far))]
        strange = np.concatenate([near[plan.unknown :], far[plan.unknown :]])
        strange = strange[rng.permutation(len(strange))]
        self._near, self._far = near[: plan.unknown], far[: plan.unknown]
        self._parts, self._labels = _parts(known.test_images, known.test_labels, strange, plan, rng)

    def domain(self, name: str, severity: int) -> Pictures:
        """The frames under a corruption; severity 0 is clean."""
        parts = {"near": self._near, "far": self._far, **self._parts}
        if name != CLEAN:
            parts = {
                part: corrupt(
                    images,
                    name,
                    severity,
                    np.random.default_rng([self._seed, severity, *f"{part}{name}".encode()]),
                )
                for part, images in parts.items()
            }
        return Pictures(labels=self._labels, **parts)


def _parts(
    images: Images,
    labels: npt.NDArray[np.int64],
    strange: Images,
    plan: OodPlan,
    rng: np.random.Generator,
) -> tuple[dict[str, Images], npt.NDArray[np.int64]]:
    """(every part but the unknown ones, labels of the known one): each image has one use."""
    sizes = {"settling": plan.settling, "uploads": plan.uploads, "mixed": plan.uploads}
    foreign = {part: round(plan.foreign * size) for part, size in sizes.items()}
    needed = plan.known + plan.uploads + sum(sizes.values()) - sum(foreign.values())
    if len(images) < needed or len(strange) < sum(foreign.values()):
        raise ConfigError(
            f"{needed} known and {sum(foreign.values())} further unknown test images are needed, but there "
            f"are only {len(images)} and {len(strange)}: ask for fewer frames"
        )
    order = rng.permutation(len(images))
    images, labels = images[order], labels[order]
    parts = {"known": images[: plan.known], "reserved": images[plan.known : plan.known + plan.uploads]}
    start, used = plan.known + plan.uploads, 0
    for part, size in sizes.items():
        own = size - foreign[part]
        mixed = np.concatenate([images[start : start + own], strange[used : used + foreign[part]]])
        parts[part] = mixed[rng.permutation(size)]
        start, used = start + own, used + foreign[part]
    return parts, labels[: plan.known]


def far_sets(dataset: str, shape: tuple[int, int, int], count: int, seed: int) -> Mapping[str, Images]:
    """Pictures of nothing that the data set holds, `count` in all, by what they are."""
    rng = np.random.default_rng([seed, 11])
    other = _other(_OTHER.get(dataset, ""), shape, count, rng)
    share = -(-count // (2 + len(other)))
    sets = {**other, "textures": textures(share, shape, rng), "noise": noise(share, shape, rng)}
    return {name: images[:share] for name, images in sets.items()}


def _other(name: str, shape: tuple[int, int, int], count: int, rng: np.random.Generator) -> dict[str, Images]:
    """The other data set in this shape; nothing where it is not installed."""
    if not any(listing.name == name and listing.folder is not None for listing in listings()):
        return {}
    images = load(name).test_images
    return {name: in_shape(images[rng.permutation(len(images))[:count]], shape)}


def in_shape(images: Images, shape: tuple[int, int, int]) -> Images:
    """Pictures in another (height, width, channels): grey or repeated, cut out or framed in black."""
    height, width, channels = shape
    if images.shape[3] != channels:
        grey = images if images.shape[3] == 1 else np.rint(images @ _LUMA)[..., None].astype(np.uint8)
        images = np.repeat(grey, channels, axis=3)
    for axis, size in ((1, height), (2, width)):
        have = images.shape[axis]
        if have > size:
            images = np.take(images, np.arange((have - size) // 2, (have - size) // 2 + size), axis=axis)
        elif have < size:
            pads = [(0, 0)] * 4
            pads[axis] = ((size - have) // 2, size - have - (size - have) // 2)
            images = np.pad(images, pads)
    return np.ascontiguousarray(images)


def textures(count: int, shape: tuple[int, int, int], rng: np.random.Generator) -> Images:
    """Gratings and clouds (1/f noise) in turns, each channel with a gain of its own."""
    height, width, channels = shape
    y, x = np.mgrid[:height, :width]
    angle, pitch, phase = (
        rng.uniform(0, np.pi, count),
        rng.uniform(2.5, 14, count),
        rng.uniform(0, 6.28, count),
    )
    along = np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y
    grating = np.sin(6.2832 * along / pitch[:, None, None] + phase[:, None, None])
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1.0
    slope = rng.uniform(0.8, 2.2, count)[:, None, None]
    spectrum = np.fft.rfft2(rng.standard_normal((count, height, width))) / frequency**slope
    spectrum[:, 0, 0] = 0
    cloud = np.fft.irfft2(spectrum, s=(height, width))
    cloud /= np.maximum(cloud.std(axis=(1, 2), keepdims=True), 1e-9) * 1.5
    plain = np.where((np.arange(count) % 2 == 0)[:, None, None], grating, cloud)
    gain = rng.uniform(0.3, 1.0, (count, 1, 1, channels))
    return np.rint(np.clip(0.5 + 0.5 * gain * plain[..., None], 0, 1) * 255).astype(np.uint8)


def noise(count: int, shape: tuple[int, int, int], rng: np.random.Generator) -> Images:
    """Independent pixels: uniform, and normal ones of some mean and contrast, in turns."""
    uniform = rng.integers(0, 256, (count, *shape)).astype(np.float64)
    level, contrast = (
        rng.uniform(40, 215, (2, count, 1, 1, 1)) / np.array([1.0, 3.0])[:, None, None, None, None]
    )
    normal = level + contrast * rng.standard_normal((count, *shape))
    plain = np.where((np.arange(count) % 2 == 0)[:, None, None, None], uniform, normal)
    return np.clip(np.rint(plain), 0, 255).astype(np.uint8)
