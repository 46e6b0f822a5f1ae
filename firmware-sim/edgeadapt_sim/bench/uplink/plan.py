"""What the uplink study measures: domains, policies, shares of the stream, seeds. Values only.

A domain is written `fog:5`, with `+unknown` when a fifth of the frames shows things of no known class, and
`+runs` when the frames of a device come class by class: `contrast:5+unknown`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgeadapt.errors import ConfigError
from edgeadapt_models.data.streams.domain import parse_domain

DOMAINS = (
    "fog:5", "contrast:5", "glass_blur:5",
    "fog:5+unknown", "contrast:5+unknown", "fog:5+runs",
)  # fmt: skip
POLICIES = ("uniform", "entropy-band", "top-entropy", "k-centre", "ours")
OURS = "ours"
SHARES = (0.01, 0.02, 0.05, 0.10, 0.25)
UNKNOWN_SHARE = 0.2
FEWEST_FRAMES = 256
"""Of a device: with fewer there are hardly two windows to choose from."""
_VARIANTS = ("unknown", "runs")


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain's text taken apart: the corruption, and how the stream is made.

    Attributes:
        text: as it was written.
        world: `fog:5` or `clean`, as `edgeadapt_models.data.streams` has it.
        unknown: whether `UNKNOWN_SHARE` of the frames is of no known class.
        runs: whether frames come class by class.
    """

    text: str
    world: str
    unknown: bool
    runs: bool

    @staticmethod
    def parse(text: str) -> Domain:
        """Read a domain; raises ConfigError."""
        world, *variants = text.split("+")
        odd = sorted(set(variants) - set(_VARIANTS))
        if odd:
            known = ", ".join(_VARIANTS)
            raise ConfigError(f"domain {text!r}: unknown variant {odd[0]!r}; known: {known}")
        parsed = parse_domain(world)
        if len(parsed.conditions) > 1 or any(len(condition.knots) > 1 for condition in parsed.conditions):
            raise ConfigError(f"domain {text!r}: expected one corruption at one severity, such as fog:5")
        return Domain(text, parsed.name, "unknown" in variants, "runs" in variants)


@dataclass(frozen=True, slots=True)
class UplinkPlan:
    """What to measure; raises ConfigError, on construction, for values that make no sense.

    Attributes:
        domains: each a stream of its own, for all policies the same.
        policies: names in `policies.POLICIES`.
        shares: byte budgets, as shares of what the whole stream would cost.
        seeds: streams per domain.
        frames: of a stream, over all devices.
        devices: the cohort that shares the stream and pools its uploads; each chooses for itself.
        held_out: frames of the domain on which accuracy is measured; all of known classes.
        steps: of the cloud's strategy.
        draws: how often each set of uploads is taught, with other random choices; accuracies are means.
        source_holdout: labelled source images on which the strategy and the gate measure; each costs time.
        everything: also teach with the whole stream of the first seed, as a line of reference.
    """

    domains: tuple[str, ...] = DOMAINS
    policies: tuple[str, ...] = POLICIES
    shares: tuple[float, ...] = SHARES
    seeds: int = 3
    frames: int = 8000
    devices: int = 4
    held_out: int = 2000
    steps: int = 100
    draws: int = 1
    source_holdout: int = 1000
    everything: bool = True
    dataset: str = "fashion-mnist"
    student: str = "fashion-mnist/resnet8"
    teacher: str = "fashion-mnist/teacher"
    workers: int = 2

    def __post_init__(self) -> None:
        counts = (self.seeds, self.frames, self.devices, self.held_out, self.steps, self.draws, self.workers)
        if min(*counts, self.source_holdout, len(self.domains), len(self.policies), len(self.shares)) < 1:
            raise ConfigError("expected at least one of each: domains, policies, shares, seeds, frames ...")
        if not all(0.0 < share <= 1.0 for share in self.shares):
            raise ConfigError("shares of the stream: expected numbers above 0, at most 1")
        if self.frames < FEWEST_FRAMES * self.devices:
            raise ConfigError(f"frames: expected {FEWEST_FRAMES} or more for each of {self.devices} devices")
        for domain in self.domains:
            Domain.parse(domain)


QUICK = UplinkPlan(
    domains=("contrast:5",),
    shares=(0.02, 0.05),
    seeds=1,
    frames=1600,
    devices=2,
    held_out=600,
    steps=20,
    draws=1,
    source_holdout=300,
    everything=False,
    workers=1,
)
"""A first look; the figures are too rough to say who is better."""


def changed(plan: UplinkPlan, **given: object) -> UplinkPlan:
    """The plan with those of the given fields that are not None; raises ConfigError as it does itself."""
    return replace(plan, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
