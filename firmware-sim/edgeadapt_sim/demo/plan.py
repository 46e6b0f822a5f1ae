"""What a demo plays: its options, and the sequence of domains that each device lives through.

Pure. Every device starts clean, meets domains in which adaptation matters, and returns to one of them;
at least one domain is common to all, so that one device's uploads help another. Not here: pictures and
files (`setup`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, cycle, islice

from edgeadapt.errors import ConfigError
from edgeadapt_models.data.streams.stream import Segment, StreamSpec
from edgeadapt_sim.broker import BrokerKind

# Two devices meet fog first and teach the third; contrast goes the other way round. Each sequence comes
# back to domains that it has seen.
_SEQUENCES: tuple[tuple[str, ...], ...] = (
    ("clean", "fog:5", "contrast:5", "fog:5", "gaussian_noise:5", "contrast:5"),
    ("clean", "fog:5", "frost:5", "contrast:5", "fog:5", "frost:5"),
    ("clean", "contrast:5", "fog:5", "glass_blur:5", "contrast:5", "fog:5"),
)
_CLEAN_WEIGHT = 0.5  # nothing is to be gained there, so it is half as long as the others
MIN_SECONDS, MAX_SECONDS = 12.0, 24 * 3600.0
MAX_FRAMES_PER_SECOND = 1000.0
_MAX_DEVICES = 16


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """Options of a demo.

    Attributes:
        devices: number of device processes.
        seconds: length of every stream.
        frames_per_second: pace of every source.
        seed: of the pictures that are drawn.
        dataset: whose test split the devices see.
        student: zoo name of the network on the devices.
        teacher: zoo name of the network in the cloud.
        strategy: how the cloud makes patches.
        broker: which broker to start.

    Raises:
        ConfigError: on construction, for values that make no sense.
    """

    devices: int = 3
    seconds: float = 180.0
    frames_per_second: float = 60.0
    seed: int = 0
    dataset: str = "fashion-mnist"
    student: str = "fashion-mnist/resnet8"
    teacher: str = "fashion-mnist/teacher"
    strategy: str = "anchored"
    broker: BrokerKind = "auto"

    def __post_init__(self) -> None:
        if not 1 <= self.devices <= _MAX_DEVICES:
            raise ConfigError(f"devices: expected 1 to {_MAX_DEVICES}, got {self.devices}")
        if not MIN_SECONDS <= self.seconds <= MAX_SECONDS:
            raise ConfigError(f"seconds: expected {MIN_SECONDS:g} to {MAX_SECONDS:g}, got {self.seconds:g}")
        if not 0 < self.frames_per_second <= MAX_FRAMES_PER_SECOND:
            raise ConfigError(
                f"frames_per_second: expected more than 0, at most {MAX_FRAMES_PER_SECOND:g}, "
                f"got {self.frames_per_second:g}"
            )
        if self.seed < 0:
            raise ConfigError(f"seed: expected 0 or more, got {self.seed}")


def device_names(plan: DemoPlan) -> tuple[str, ...]:
    """Device ids, in order."""
    return tuple(f"camera-{number + 1}" for number in range(plan.devices))


def streams(plan: DemoPlan) -> dict[str, StreamSpec]:
    """The stream of every device, by device id; no two see the same pictures in the same order."""
    specs = {}
    total = round(plan.seconds * plan.frames_per_second)
    sequences = islice(cycle(_SEQUENCES), plan.devices)
    for number, (name, domains) in enumerate(zip(device_names(plan), sequences, strict=True)):
        weights = [_CLEAN_WEIGHT if domain == "clean" else 1.0 for domain in domains]
        ends = [round(total * part / sum(weights)) for part in accumulate(weights)]
        segments = tuple(
            Segment(domain=domain, frames=end - start)
            for domain, start, end in zip(domains, [0, *ends], ends, strict=False)
        )
        specs[name] = StreamSpec(plan.dataset, segments, plan.seed * _MAX_DEVICES + number)
    return specs
