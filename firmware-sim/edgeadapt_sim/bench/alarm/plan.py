"""What is studied, and the rows that come out. Values only."""

from __future__ import annotations

import msgspec

NETWORKS = ("fashion-mnist/resnet8", "cifar10/resnet8")
CORRUPTIONS = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
    "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip
#: Levels that are looked at; the device's own is the first.
LEVELS = (0.01, 0.05, 0.1)
#: How the frames of a clean stream are ordered; in scenes, a few images of one class come again and again.
ORDERS = ("iid", "sorted", "runs", "scenes")
#: The alarm, and the rule that it took the place of.
RULES = ("alarm", "distance")


class AlarmPlan(msgspec.Struct, frozen=True):
    """What to study.

    Attributes:
        networks: of the zoo.
        corruptions: domains.
        severities: of each.
        streams: clean ones, for each order.
        stream_frames: probed frames of each.
        repeats: streams for each corruption and severity.
        clean_frames: probed before the corruption begins.
        frames: images of each corruption.
        device_severities: at which a whole device meets the corruption, too.
        device_clean: frames that it sees before, with default settings.
        device_frames: and after.
    """

    networks: tuple[str, ...] = NETWORKS
    corruptions: tuple[str, ...] = CORRUPTIONS
    severities: tuple[int, ...] = (1, 3, 5)
    streams: int = 100
    stream_frames: int = 1000
    repeats: int = 3
    clean_frames: int = 300
    frames: int = 400
    device_severities: tuple[int, ...] = (5,)
    device_clean: int = 300
    device_frames: int = 400


QUICK = AlarmPlan(
    networks=NETWORKS[:1],
    corruptions=("gaussian_noise", "fog"),
    severities=(5,),
    streams=5,
    stream_frames=600,
    repeats=2,
    frames=200,
    device_frames=200,
)


class FalseRow(msgspec.Struct, frozen=True):
    """Clean streams of one network in one order.

    Attributes:
        order: of `ORDERS`.
        streams: how many.
        alarms: how many of them sounded it, for each of `LEVELS`.
        largest: e-value over all streams.
        distance: streams in which the distance rule began a segment.
        segments: segments that it began, per 10,000 frames.
    """

    network: str
    order: str
    streams: int
    alarms: tuple[int, ...]
    largest: float
    distance: int
    segments: float


class Delay(msgspec.Struct, frozen=True):
    """How one rule saw a drift.

    Attributes:
        seen: share of the streams.
        frames: median over those, from the first frame of the new domain; None where it was never seen.
    """

    seen: float
    frames: float | None


class DriftRow(msgspec.Struct, frozen=True):
    """One corruption at one severity.

    Attributes:
        accuracy: of the base model there, 0..1.
        lost: less than on the same images, clean.
        apart: whitened distance of the domain's mean residual from the source.
        alarm: delay in probed frames, every frame being probed.
        distance: the same of the distance rule.
        device: frames until a settled device with default settings, which probes one frame in a hundred,
            begins a segment; None: it did not, or none was run.
    """

    network: str
    corruption: str
    severity: int
    accuracy: float
    lost: float
    apart: float
    alarm: Delay
    distance: Delay
    device: int | None


class Source(msgspec.Struct, frozen=True):
    """Of one network: its clean accuracy, and the tolerance that the null hypothesis grants."""

    network: str
    accuracy: float
    tolerance: float
    features: int


class Study(msgspec.Struct, frozen=True):
    """All rows."""

    sources: tuple[Source, ...]
    false_alarms: tuple[FalseRow, ...]
    drifts: tuple[DriftRow, ...]
