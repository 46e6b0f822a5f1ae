"""The verdict about one frame or one window, with the numbers that it rests on. Values only."""

from __future__ import annotations

from typing import Literal

import msgspec

from edgeadapt.wire import Verdict

Thresholds = Literal["bundle", "patch", "domain"]
"""Whose knots decide: the bundle's, the running patch's, or the device's own of its domain."""


class WindowVerdict(msgspec.Struct, frozen=True):
    """What the last frames are together: windows see drift where single frames do not.

    Attributes:
        verdict: "unreliable": most of it cannot be judged. "shifted": the domain is another one and the model
            has not adapted yet. "unknown": it has, and more frames are strange than chance explains.
            "informative": a quarter or more of it is. "familiar": none of these.
        frames: how many.
        strange: how many of them had a p-value below the bound.
        allowed: how many strange ones chance explains (of familiar windows, one in a hundred has more).
        drifted: the drift test said that the domain is not the source's.
        adapted: the model had adapted at the window's end.
    """

    verdict: Verdict
    frames: int
    strange: int
    allowed: int
    drifted: bool
    adapted: bool

    @property
    def text(self) -> str:
        """In words, for a person."""
        domain = "not the source's domain" if self.drifted else "the source's domain"
        model = "adapted" if self.adapted else "not adapted yet"
        return (
            f"{self.verdict}: {self.strange} of {self.frames} frames strange, {self.allowed} by chance; "
            f"{domain}, model {model}"
        )


class Decision(msgspec.Struct, frozen=True):
    """What a frame is to the model that scored it.

    Attributes:
        verdict: "familiar": as known frames are. "informative": known, but the model is unsure. "shifted":
            strange while the domain is another one and the model has not adapted yet. "unknown": strange
            still after it has. "unreliable": the outputs cannot be judged (not finite).
        p_value: how usual such a frame is among known ones, 0 to 1; all scores combined.
        scores: one per scorer of the device, in its order; higher is more like the source.
        p_values: of each of them.
        bounds: the score of each at which its p-value is the bound that decides; below it is strange.
        thresholds: whose knots gave the p-values.
        calibrated: frames of the domain that they were made of; 0 for knots that were not made here.
        adapted: model and thresholds had adapted to the domain when it scored the frame.
        reason: in words, for a person.
        window: the verdict about the last whole window before the frame, None before the first.
    """

    verdict: Verdict
    p_value: float = 1.0
    scores: tuple[float, ...] = ()
    p_values: tuple[float, ...] = ()
    bounds: tuple[float, ...] = ()
    thresholds: Thresholds = "bundle"
    calibrated: int = 0
    adapted: bool = False
    reason: str = ""
    window: WindowVerdict | None = None
