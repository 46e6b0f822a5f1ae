"""The scorers of one bundle, fitted and calibrated: frames' outputs in, p-values out.

    suite = Suite.of(bundle.calibration)
    scores = suite.score(outputs)                        [N, M], higher is more like the source
    p = suite.p_values(scores)                           [N, M], small is strange
    any_p = suite.combine(p)                             [N]

Under a patch, `p_values` takes that patch's own thresholds. A scorer whose inputs a frame does not have (a
style that was not probed, a temperature that an engine does not give) has score and p-value NaN there, and
`combine` leaves it out. A bundle without scorers has an empty suite, under which every frame is familiar.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeadapt.bundle.calibration import Calibration
from edgeadapt.errors import BundleError, ConfigError, WireError
from edgeadapt.scoring import conformal
from edgeadapt.scoring.base import Need, Outputs, Scorer, ScorerKind
from edgeadapt.scoring.plugins import scorer_kind
from edgeadapt.tensors import FloatArray


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The knots of M scorers, made ready: by `Suite.thresholds`.

    Attributes:
        knots: [M, 64] float32, rows in the order of `Suite.names`.
        lists: the same as lists of floats, for one frame at a time.
    """

    knots: FloatArray
    lists: tuple[list[float], ...]


@dataclass(frozen=True, slots=True)
class Suite:
    """Fitted scorers.

    Attributes:
        names: of the M scorers, sorted.
        scorers: in the order of the names.
        needs: what each must find in `Outputs`.
        semantic: which tell unknown classes from known ones better than domains apart.
        base: thresholds of the bundle without a patch.
    """

    names: tuple[str, ...]
    scorers: tuple[Scorer, ...]
    needs: tuple[frozenset[Need], ...]
    semantic: tuple[bool, ...]
    base: Thresholds

    @staticmethod
    def of(calibration: Calibration) -> Suite:
        """The scorers that a bundle brings.

        Raises:
            ConfigError: one comes from a package that is not installed here, or is broken.
            BundleError: tensors of one are not as it needs them, or not of this model.
        """
        names = tuple(sorted(calibration.knots))
        kinds = [scorer_kind(name) for name in names]
        frame = _any_frame(calibration)
        scorers = [_loaded(kind, calibration.scorers.get(kind.name, {}), frame) for kind in kinds]
        return Suite(
            names,
            tuple(scorers),
            tuple(kind.needs for kind in kinds),
            tuple(kind.semantic for kind in kinds),
            _ready([calibration.knots[name] for name in names]),
        )

    def thresholds(self, knots: Mapping[str, FloatArray]) -> Thresholds:
        """A patch's own knots, [64] each, made ready.

        Raises:
            ConfigError: they are for other scorers than these.
        """
        if set(knots) != set(self.names):
            raise ConfigError(
                f"thresholds are for {', '.join(sorted(knots)) or 'no scorer'}; "
                f"the bundle has {', '.join(self.names) or 'none'}"
            )
        return _ready([knots[name] for name in self.names])

    def score(self, outputs: Outputs) -> FloatArray:
        """[N, M] float32; NaN where a scorer does not find what it needs."""
        scores = np.empty((len(outputs.logits), len(self.names)), dtype=np.float32)
        for column, (scorer, needs) in enumerate(zip(self.scorers, self.needs, strict=True)):
            scores[:, column] = scorer.score(outputs) if _has(outputs, needs) else np.nan
        return scores

    def p_values(self, scores: FloatArray, thresholds: Thresholds | None = None) -> FloatArray:
        """[N, M] float32 p-values of scores [N, M] from `score`; NaN stays NaN.

        Args:
            scores: of the scorers of this suite.
            thresholds: of the patch under which the frames were scored; None: the bundle's own.
        """
        held = self.base if thresholds is None else thresholds
        result = np.empty(scores.shape, dtype=np.float32)
        if len(scores) == 1:
            row = zip(scores[0].tolist(), held.lists, strict=True)
            result[0] = [conformal.p_value(s, knots) if s == s else s for s, knots in row]
            return result
        for column, knots in enumerate(held.knots):
            known = scores[:, column]
            result[:, column] = np.where(np.isnan(known), np.nan, conformal.p_values(known, knots))
        return result

    def combine(self, p: FloatArray) -> FloatArray:
        """[N] float32 of p-values [N, M], by `conformal.cauchy`; 1 where nothing was measured."""
        if len(p) == 1:
            return np.array([conformal.cauchy_one(p[0].tolist())], dtype=np.float32)
        return conformal.cauchy(p.T)


def _any_frame(calibration: Calibration) -> Outputs:
    """One frame as this bundle's model gives them: zeros, of the right widths."""
    classes, width = calibration.prototypes.shape
    logits, embedding = np.zeros((1, classes), np.float32), np.zeros((1, width), np.float32)
    style = np.zeros((1, calibration.signature_mean.size), np.float32)
    return Outputs(logits, embedding, style, np.ones(1, np.float32))


def _loaded(kind: ScorerKind, tensors: Mapping[str, npt.NDArray[Any]], frame: Outputs) -> Scorer:
    """A scorer that was seen to score: tensors of another model fit each other, but no frame of this one."""
    try:
        scorer = kind.load(tensors)
        scorer.score(frame)
    except (WireError, ValueError, IndexError) as error:
        raise BundleError(
            f"calibration.safetensors: scorer {kind.name!r} does not fit this bundle's model: {error}"
        ) from error
    return scorer


def _ready(knots: list[FloatArray]) -> Thresholds:
    stacked = np.stack(knots) if knots else np.empty((0, conformal.KNOTS), dtype=np.float32)
    return Thresholds(stacked.astype(np.float32), tuple(stacked.tolist()))


def _has(outputs: Outputs, needs: frozenset[Need]) -> bool:
    return not (
        ("embedding" in needs and outputs.embedding is None)
        or ("style" in needs and outputs.style is None)
        or ("temperature" in needs and outputs.temperature is None)
    )
