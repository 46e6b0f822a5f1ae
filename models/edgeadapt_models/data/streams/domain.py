"""Domains in words: what the world does to a frame, written so that a person and a TOML file agree.

Grammar::

    domain     = "clean" | condition | "mixed(" condition { "," condition } ")"
    condition  = corruption ":" severity { "-" severity }      one severity, or knots of a ramp

``fog:5`` is fog at severity 5; ``fog:1-5-1`` rises from 1 to 5 and falls back over the segment;
``mixed(fog:5,shot_noise:3)`` picks one of its conditions for each frame. A domain that returns has the same
name: :attr:`Domain.name` is canonical, without spaces.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeadapt.errors import ConfigError
from edgeadapt_models.data.corruptions.registry import check

CLEAN = "clean"
_MIXED = re.compile(r"mixed\((.*)\)")


@dataclass(frozen=True, slots=True)
class Condition:
    """One corruption at a severity, or along a ramp of severities.

    Raises:
        ConfigError: on construction, for an unknown corruption or a severity outside 1 to 5.
    """

    corruption: str
    knots: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.knots:
            raise ConfigError(f"{self.corruption} has no severity")
        for severity in self.knots:
            check(self.corruption, severity)

    @property
    def name(self) -> str:
        """Canonical text."""
        return f"{self.corruption}:{'-'.join(str(knot) for knot in self.knots)}"

    def severities(self, frames: int) -> NDArray[np.int64]:
        """Severity at each frame of a segment: the knots, joined by straight lines and rounded."""
        places = np.linspace(0, max(frames - 1, 1), len(self.knots))
        return np.rint(np.interp(np.arange(frames), places, self.knots)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Domain:
    """No condition (clean), one, or several to pick from at each frame."""

    conditions: tuple[Condition, ...]

    @property
    def name(self) -> str:
        """Canonical text; equal for equal domains."""
        texts = [condition.name for condition in self.conditions]
        if len(texts) > 1:
            return f"mixed({','.join(texts)})"
        return texts[0] if texts else CLEAN


def parse_domain(text: str) -> Domain:
    """Read a domain's name.

    Raises:
        ConfigError: not in the grammar, an unknown corruption, or a severity outside 1 to 5.
    """
    compact = "".join(text.split())
    if compact == CLEAN:
        return Domain(())
    mixed = _MIXED.fullmatch(compact)
    parts = mixed[1].split(",") if mixed else [compact]
    return Domain(tuple(_parse_condition(part, text) for part in parts))


def _parse_condition(part: str, text: str) -> Condition:
    corruption, colon, severities = part.partition(":")
    if not colon or not re.fullmatch(r"\d+(-\d+)*", severities):
        raise ConfigError(
            f"cannot read domain {text!r} at {part!r}: expected 'clean', 'fog:5', 'fog:1-5-1' "
            "or 'mixed(fog:5,shot_noise:3)'"
        )
    return Condition(corruption, tuple(int(severity) for severity in severities.split("-")))
