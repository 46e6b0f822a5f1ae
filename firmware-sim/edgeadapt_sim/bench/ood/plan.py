"""What the study measures, and the shape of what it finds. Shares and areas are 0 to 1."""

from __future__ import annotations

import msgspec

from edgeadapt.errors import ConfigError
from edgeadapt_models.data.corruptions import CORRUPTIONS

CLEAN = "clean"
STATES = ("base", "own", "patched")
KNOTS = ("base", "source", "known", "uploads")
"""Where the knots of p-values are from: the base model on the source's holdout, the model as it runs on the
source's holdout, on known classes of the domain, on uploads of the domain with whatever is among them."""
WINDOW = 64
NOMINAL = 0.05
ALPHAS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
_TAUGHT = 96  # uploads that the cloud asks for before it teaches


class OodPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How much to measure.

    Attributes:
        dataset: "fashion-mnist" or "cifar10".
        networks: second halves of recipe names; the first is the one that claims are about.
        seeds: how many; each trains networks of its own and leaves out other classes.
        epochs: of a training.
        corruptions: names.
        severities: of each of them.
        known: frames of known classes that are measured, per domain.
        unknown: of unknown ones, near and far each.
        settling: frames that statistics settle on.
        uploads: frames that a patch is taught with.
        fitting: source frames that scorers are fitted on, and as many that knots are from.
        foreign: share of unknown frames among those that statistics settle on and among uploads.
        steps: of the patch's strategy.
        windows: windows drawn per domain.
        full: False: lower severities, and networks after the first, are measured by the first seed only.
        timing_s: CPU seconds that each of five rounds of a timing takes, about.

    Raises:
        ConfigError: on construction, for sizes that make no sense.
    """

    dataset: str = "fashion-mnist"
    networks: tuple[str, ...] = ("resnet8", "resnet8-abet")
    seeds: int = 3
    epochs: int = 6
    corruptions: tuple[str, ...] = CORRUPTIONS
    severities: tuple[int, ...] = (3, 5)
    known: int = 1000
    unknown: int = 400
    settling: int = 384
    uploads: int = 512
    fitting: int = 4000
    foreign: float = 0.1
    steps: int = 40
    windows: int = 200
    full: bool = False
    timing_s: float = 0.05

    def __post_init__(self) -> None:
        sizes = (self.seeds, self.epochs, self.unknown, self.settling, self.steps, self.windows, self.fitting)
        if min(*sizes, self.known - WINDOW, self.uploads - _TAUGHT, len(self.networks)) < 1:
            raise ConfigError(
                f"expected networks, seeds, epochs, steps and frames, more than {WINDOW} known ones and more "
                f"than {_TAUGHT} uploads"
            )
        if not 0 <= self.foreign <= 0.5:
            raise ConfigError(f"the share of foreign frames must be 0 to 0.5, not {self.foreign}")

    @property
    def domains(self) -> tuple[tuple[str, int], ...]:
        """(corruption, severity) pairs, clean first as severity 0."""
        return ((CLEAN, 0), *((name, level) for level in self.severities for name in self.corruptions))

    @property
    def highest(self) -> int:
        """The severity that full-spectrum figures and means over corruptions are at."""
        return max(self.severities)

    def measures(self, seed: int, network: str, severity: int) -> bool:
        """Whether this is looked at; networks after the first are looked at in the highest severity only."""
        if severity in (0, self.highest):
            return network == self.networks[0] or self.full or seed == 0
        return network == self.networks[0] and (self.full or seed == 0)


QUICK = OodPlan(
    networks=("resnet8",),
    seeds=1,
    epochs=2,
    corruptions=("gaussian_noise", "fog", "contrast"),
    severities=(5,),
    known=500,
    unknown=300,
    settling=192,
    uploads=256,
    fitting=1500,
    steps=25,
    windows=100,
    timing_s=0.01,
)


class At(msgspec.Struct, frozen=True):
    """Shares of frames with a p-value below `NOMINAL`, for one kind of knots.

    Attributes:
        knots: one of `KNOTS`.
        known: of known classes: what should be 0.05.
        near: of held-out classes.
        far: of other data.
    """

    knots: str
    known: float
    near: float
    far: float


class Row(msgspec.Struct, frozen=True):
    """One scorer on one model in one domain.

    Attributes:
        network, seed, domain, severity, state: which.
        scorer: its name.
        accuracy: of the model on known classes.
        near: area under the curve, known classes of this domain against held-out classes in it.
        far: likewise against other data.
        fpr95_near: share of held-out classes above the score that 95 % of the known ones reach.
        fpr95_far: likewise of other data.
        shift: area under the curve, clean known classes under the base model against this domain's.
        window: share of windows of this domain's known frames whose mean score is below the clean 5 %.
        at: realised shares at the nominal one.
        misrouted: share of clean known frames below `NOMINAL` under this model, by its "known" knots.
    """

    network: str
    seed: int
    domain: str
    severity: int
    state: str
    scorer: str
    accuracy: float
    near: float
    far: float
    fpr95_near: float
    fpr95_far: float
    shift: float
    window: float
    at: tuple[At, ...]
    misrouted: float


class StyleRow(msgspec.Struct, frozen=True):
    """The window test of early-layer style in one domain: share of windows flagged, and of single frames."""

    seed: int
    domain: str
    severity: int
    window: float
    frame: float


class Spectrum(msgspec.Struct, frozen=True):
    """One scorer, or one combination, over all domains at once: full-spectrum.

    Attributes:
        network, seed, state: which; in state "patched" and "own", clean frames are seen by the base model.
        name: of the scorer, or names joined by "+" for a Cauchy combination.
        values: "scores", or the kind of knots that p-values are by.
        auroc: known (clean, and corrupted at the highest severity) against unknown (near and far, likewise).
        near: against held-out classes alone.
        far: against other data alone.
        fpr95: share of unknown frames above what 95 % of known ones reach.
        caught: for each of `ALPHAS`, (known, near, far): shares with a p-value below; empty for scores.
    """

    network: str
    seed: int
    state: str
    name: str
    values: str
    auroc: float
    near: float
    far: float
    fpr95: float
    caught: tuple[tuple[float, float, float], ...] = ()


class Cost(msgspec.Struct, frozen=True):
    """What a scorer costs a device.

    Attributes:
        network: whose embedding and classes it is for.
        scorer: its name.
        single_s: CPU seconds of a frame, scored alone.
        batch_s: of a frame among 256.
        shipped_bytes: its tensors, without the 256 bytes of knots.
        against: what its scores were compared with, or "".
        difference: largest difference to that, relative to the largest magnitude; None when not compared.
    """

    network: str
    scorer: str
    single_s: float
    batch_s: float
    shipped_bytes: int
    against: str = ""
    difference: float | None = None


class Study(msgspec.Struct, frozen=True):
    """Everything that was found.

    Attributes:
        far_sets: what "far" is made of.
        rows: by network, seed, domain, state and scorer.
        style: the window test.
        spectra: full-spectrum figures, those of combinations too.
        costs: by network and scorer.
    """

    far_sets: tuple[str, ...]
    rows: tuple[Row, ...]
    style: tuple[StyleRow, ...]
    spectra: tuple[Spectrum, ...]
    costs: tuple[Cost, ...]
