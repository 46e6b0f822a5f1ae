"""A domain stream: what one device's camera sees over its life, as data a test can repeat.

A :class:`StreamSpec` is text; :func:`render` turns it into frames. Same spec and data set, same bytes:
every block of ``BLOCK`` frames of a segment draws from generators seeded by (seed, segment, block,
corruption, severity), so nothing depends on how the work is cut or on what came before. A domain that
returns has the same name and new randomness.

Not here: files on disk (``files``), the grammar of domains (``domain``).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeadapt.errors import ConfigError
from edgeadapt_models.data.base import Dataset
from edgeadapt_models.data.corruptions import CORRUPTIONS, corrupt
from edgeadapt_models.data.streams.domain import Domain, parse_domain
from edgeadapt_models.data.streams.sampling import Deck, Indices, in_runs

BLOCK = 256
NO_CORRUPTION = -1
_ORDER, _CHOICE, _PIXELS = range(3)  # which draw a generator is for; part of its seed


class Segment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stretch of one domain.

    Raises:
        ConfigError: on construction, for values that make no sense.
    """

    # Domain in words, such as "fog:5", "fog:1-5-1" or "mixed(fog:5,shot_noise:3)".
    domain: str
    # How many frames.
    frames: int
    # Share of each class, in the data set's order; any scale. Absent: as in the test split.
    class_weights: tuple[float, ...] | None = None
    # Draw the class weights from a symmetric Dirichlet with this concentration (small: few classes).
    dirichlet: float | None = None
    # Frames of one class that follow each other; 1: independent.
    run_length: int = 1

    def __post_init__(self) -> None:
        parse_domain(self.domain)
        if self.frames < 1 or self.run_length < 1:
            raise ConfigError(f"segment {self.domain!r}: frames and run_length must be at least 1")
        if self.class_weights is not None and self.dirichlet is not None:
            raise ConfigError(f"segment {self.domain!r}: give class_weights or dirichlet, not both")
        if self.dirichlet is not None and not 0 < self.dirichlet < float("inf"):
            raise ConfigError(f"segment {self.domain!r}: dirichlet must be above 0 and finite")
        weights = self.class_weights or (1.0,)
        if min(weights) < 0 or not 0 < sum(weights) < float("inf"):
            raise ConfigError(
                f"segment {self.domain!r}: class_weights must be 0 or more, not all 0, with a finite sum"
            )


class StreamSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole stream, in words; the form of ``edgeadapt data render --spec FILE.toml``."""

    # Data set by name; its test split is shown.
    dataset: str
    # The stretches, in order.
    segments: tuple[Segment, ...]
    # Two devices with the same segments and other seeds see other pictures.
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.segments:
            raise ConfigError("a stream needs at least one segment")
        if self.seed < 0:
            raise ConfigError(f"seed must be 0 or more, got {self.seed}")

    @property
    def frames(self) -> int:
        """Length of the whole stream."""
        return sum(segment.frames for segment in self.segments)


@dataclass(frozen=True, slots=True)
class RenderedStream:
    """Frames and, apart from them, the truth about them; ``N`` is ``spec.frames``.

    Attributes:
        spec: what it was rendered from.
        frames: uint8 ``[N, H, W, C]``: all that a device may see.
        labels: int64 ``[N]``.
        domain_names: canonical names of the distinct domains, in order of first appearance.
        domains: int64 ``[N]``, index into ``domain_names``.
        corruptions: int64 ``[N]``, index into ``CORRUPTIONS``, or ``NO_CORRUPTION``.
        severities: int64 ``[N]``, 1 to 5, or 0 for a clean frame.
    """

    spec: StreamSpec
    frames: NDArray[np.uint8]
    labels: NDArray[np.int64]
    domain_names: tuple[str, ...]
    domains: NDArray[np.int64]
    corruptions: NDArray[np.int64]
    severities: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4:
            raise ConfigError(
                f"frames must be uint8 [N, H, W, C], got {self.frames.dtype} {self.frames.shape}"
            )
        for array in (self.labels, self.domains, self.corruptions, self.severities):
            if array.shape != self.frames.shape[:1] or len(array) != self.spec.frames:
                raise ConfigError(
                    f"the spec has {self.spec.frames} frames, the stream {len(self.frames)} "
                    f"and its truth {array.shape}"
                )


def parse_segments(text: str) -> tuple[Segment, ...]:
    """Read ``"clean:500,fog:5:500,mixed(fog:5,snow:3):200"``: domains, each with a number of frames.

    Raises:
        ConfigError: not of that form.
    """
    pieces: list[str] = [""]
    depth = 0
    for letter in text:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += letter
    return tuple(_parse_segment(piece.strip()) for piece in pieces)


def render(
    spec: StreamSpec, dataset: Dataset, on_frames: Callable[[int], None] | None = None
) -> RenderedStream:
    """Draw the pictures and corrupt them.

    Args:
        spec: what to render.
        dataset: the data set that ``spec.dataset`` names.
        on_frames: told how many more frames are done, block by block.

    Raises:
        ConfigError: the data set is another one, or has another number of classes than a segment's weights,
            or the frames do not fit into memory.
    """
    if dataset.name != spec.dataset:
        raise ConfigError(f"the stream is of {spec.dataset!r}, the data set is {dataset.name!r}")
    parsed = [parse_domain(segment.domain) for segment in spec.segments]
    names = tuple(dict.fromkeys(domain.name for domain in parsed))
    deck = Deck(dataset.test_labels, len(dataset.classes), np.random.default_rng([spec.seed, _ORDER]))
    frames, truth = _allocate(spec.frames, dataset.image_shape)
    start = 0
    for number, (segment, domain) in enumerate(zip(spec.segments, parsed, strict=True)):
        rng = np.random.default_rng([spec.seed, _CHOICE, number])
        chosen = _choose(segment, dataset, deck, rng)
        corruptions, severities = _conditions(domain, segment.frames, rng)
        span = slice(start, start + segment.frames)
        truth[:, span] = (
            dataset.test_labels[chosen],
            np.full(segment.frames, names.index(domain.name)),
            corruptions,
            severities,
        )
        frames[span] = dataset.test_images[chosen]
        _corrupt_in_place(frames[span], corruptions, severities, (spec.seed, _PIXELS, number), on_frames)
        start += segment.frames
    return RenderedStream(spec, frames, truth[0], names, truth[1], truth[2], truth[3])


def _allocate(count: int, image_shape: tuple[int, int, int]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Room for the frames and for the truth about them (4 rows)."""
    try:
        return np.empty((count, *image_shape), dtype=np.uint8), np.empty((4, count), dtype=np.int64)
    except (MemoryError, ValueError) as error:
        size = count * (math.prod(image_shape) + 32) / 1e9
        raise ConfigError(
            f"{count} frames take {size:,.0f} GB of memory, more than there is: ask for fewer frames"
        ) from error


def _parse_segment(piece: str) -> Segment:
    domain, colon, frames = piece.rpartition(":")
    if not colon or not frames.isdecimal():
        raise ConfigError(
            f"cannot read segment {piece!r}: expected a domain and a number of frames, as in 'fog:5:500'"
        )
    return Segment(domain=parse_domain(domain).name, frames=int(frames))


def _choose(segment: Segment, dataset: Dataset, deck: Deck, rng: np.random.Generator) -> Indices:
    """Which test pictures the segment shows, in order."""
    classes = len(dataset.classes)
    weights = None if segment.class_weights is None else np.array(segment.class_weights, dtype=np.float64)
    if segment.dirichlet is not None:
        weights = rng.dirichlet(np.full(classes, segment.dirichlet))
    if weights is None:
        chosen = deck.plain(segment.frames)
    elif len(weights) != classes:
        raise ConfigError(f"segment {segment.domain!r} weighs {len(weights)} classes, there are {classes}")
    else:
        chosen = deck.weighted(segment.frames, weights / weights.sum())
    if segment.run_length > 1:
        chosen = in_runs(chosen, dataset.test_labels[chosen], segment.run_length, rng)
    return chosen


def _conditions(
    domain: Domain, frames: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Corruption index and severity at each frame."""
    if not domain.conditions:
        return np.full(frames, NO_CORRUPTION), np.zeros(frames, dtype=np.int64)
    pick = rng.integers(len(domain.conditions), size=frames)
    indices = np.array([CORRUPTIONS.index(condition.corruption) for condition in domain.conditions])
    severities = np.stack([condition.severities(frames) for condition in domain.conditions])
    return indices[pick], severities[pick, np.arange(frames)]


def _corrupt_in_place(
    frames: NDArray[np.uint8],
    corruptions: NDArray[np.int64],
    severities: NDArray[np.int64],
    seed: tuple[int, ...],
    on_frames: Callable[[int], None] | None,
) -> None:
    """Corrupt a segment, block by block; within a block, frames of one kind together."""
    for block, start in enumerate(range(0, len(frames), BLOCK)):
        span = slice(start, start + BLOCK)
        kinds = np.stack([corruptions[span], severities[span]], axis=1)
        for kind, severity in np.unique(kinds, axis=0).tolist():
            if kind == NO_CORRUPTION:
                continue
            where = start + np.flatnonzero((kinds == (kind, severity)).all(axis=1))
            rng = np.random.default_rng([*seed, block, kind, severity])
            frames[where] = corrupt(frames[where], CORRUPTIONS[kind], severity, rng)
        if on_frames is not None:
            on_frames(len(kinds))
