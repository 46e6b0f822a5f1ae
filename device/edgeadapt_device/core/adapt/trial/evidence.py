"""Label-free evidence that a patch does harm, or does none: four means, each held against its bound.

Every compared frame was scored by the old and the new generation. What is watched, always the new one
against the old one on the same frame, so that a hard scene counts for both:

    entropy-rise    rise of the prediction's entropy, in units of ln K
    concentration   rise of the chance that two compared frames get the same class (Simpson's index); a
                    collapse onto few classes drives it to 1
    disagreement    frames on which old and new name different classes
    probe-distance  rise of the distance of the norm layers' inputs from the source's, as D / (1 + D)

Each is a test that may be looked at after every frame (`edgeadapt.sequential`). Harm is proved when one
of them exceeds its bound; the level is shared among them, so a patch that exceeds none is reverted with
a chance of at most `alpha`, whenever that is looked at. Harmless is proved when all keep their bounds,
each at the level `alpha`. To exceed a bound is to do so on the mean of the next frame, given those before it:
where frames come in runs, a patch that is worse for the class now shown exceeds it now, though over all
classes it may not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgeadapt.scoring import entropy, softmax
from edgeadapt.sequential import MeanTest
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import TrialCheck
from edgeadapt_device.config import TrialSection


@dataclass(frozen=True, slots=True)
class Seen:
    """What one generation made of a frame.

    Attributes:
        logits: [K].
        distance: of its norm layers' inputs from the source's (`signature.probe_distance`); None when
            the frame was not probed.
    """

    logits: FloatArray
    distance: float | None = None


class Evidence:
    """Everything that was compared in one trial."""

    def __init__(self, config: TrialSection, classes: int) -> None:
        """`classes` is K."""
        self._alpha = config.alpha
        self._log_classes = math.log(max(classes, 2))
        self._entropy = MeanTest(-1.0, 1.0, config.max_entropy_rise)
        self._concentration = MeanTest(-1.0, 1.0, config.max_concentration)
        self._disagreement = MeanTest(0.0, 1.0, 1.0 - config.min_agreement)
        self._distance = MeanTest(-1.0, 1.0, config.max_probe_distance)
        self._tests = {
            "entropy-rise": self._entropy,
            "concentration": self._concentration,
            "disagreement": self._disagreement,
            "probe-distance": self._distance,
        }
        self._entropies = np.zeros(2)
        self._waiting: FloatArray | None = None

    def observe(self, new: Seen, old: Seen) -> None:
        """Take one compared frame."""
        pair = softmax(np.stack([old.logits, new.logits]))
        entropies = entropy(pair).astype(np.float64)
        self._entropies += entropies
        self._entropy.observe(float(entropies[1] - entropies[0]) / self._log_classes)
        self._disagreement.observe(float(pair[0].argmax() != pair[1].argmax()))
        if self._waiting is None:
            self._waiting = pair
        else:
            # Each frame is in one pair only, so that the pairs are as independent as the frames.
            same = (self._waiting * pair).sum(axis=1)
            self._waiting = None
            self._concentration.observe(float(same[1] - same[0]))
        if new.distance is not None and old.distance is not None:
            rise = _squashed(new.distance) - _squashed(old.distance)
            self._distance.observe(rise if math.isfinite(rise) else 1.0)

    @property
    def frames(self) -> int:
        """Compared frames."""
        return self._entropy.count

    @property
    def agreement(self) -> float:
        """Share of compared frames on which old and new name the same class; 0 before the first."""
        return 1.0 - self._disagreement.mean if self.frames else 0.0

    @property
    def entropies(self) -> tuple[float, float]:
        """Mean entropy in nats of the old and of the new generation; zeros before the first frame."""
        old, new = (float(e) for e in self._entropies / max(self.frames, 1))
        return old, new

    @property
    def lines(self) -> tuple[TrialCheck, ...]:
        """What there is to see, one line a check."""
        return tuple(
            TrialCheck(
                check=name,
                value=test.mean,
                bound=test.bound,
                e_harm=test.e_above,
                e_safe=test.e_below,
                frames=test.count,
            )
            for name, test in self._tests.items()
        )

    def harm(self) -> str:
        """The check that is proved to exceed its bound, in words with its numbers; "" for none."""
        needed = len(self._tests) / self._alpha
        worst = max(self.lines, key=lambda line: line.e_harm)
        if worst.e_harm < needed:
            return ""
        return f"{self._in_words(worst)} (e-value {worst.e_harm:.3g} after {self.frames} compared frames)"

    def is_harmless(self) -> bool:
        """True when every check that has seen a frame is proved to keep its bound."""
        return all(line.e_safe >= 1.0 / self._alpha for line in self.lines if line.frames)

    def is_suspect(self) -> bool:
        """True when a mean lies beyond its bound, be it by chance."""
        return any(line.value > line.bound for line in self.lines if line.frames)

    def _in_words(self, line: TrialCheck) -> str:
        if line.check == "entropy-rise":
            old, new = self.entropies
            return f"mean entropy rose from {old:.3f} to {new:.3f} nats"
        if line.check == "concentration":
            return f"predictions concentrated: two frames get one class {line.value:+.0%} more often"
        if line.check == "disagreement":
            return f"old and new agree on only {self.agreement:.0%} of the frames"
        return f"the model's inner values moved away from the source by {line.value:+.2f}"


def _squashed(distance: float) -> float:
    """A distance of [0, inf) in [0, 1]."""
    return distance / (1.0 + distance) if math.isfinite(distance) else 1.0
