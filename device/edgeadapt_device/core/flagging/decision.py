"""The verdict about one frame, with the numbers that it rests on. Values only."""

from __future__ import annotations

import msgspec

from edgeadapt.wire import Verdict


class Decision(msgspec.Struct, frozen=True):
    """What a frame is to the model that scored it.

    Attributes:
        verdict: "familiar": as known frames are. "informative": known, but the model is unsure. "shifted":
            strange while the domain is another one and the model has not adapted yet. "unknown": strange
            still after it has. "unreliable": the outputs cannot be judged (not finite).
        p_value: how usual such a frame is among known ones, 0 to 1; all scores combined.
        scores: one per scorer of the bundle, in its order; higher is more like the source.
        p_values: of each of them.
        adapted: the model had adapted to the domain when it scored the frame.
        reason: in words, for a person.
    """

    verdict: Verdict
    p_value: float = 1.0
    scores: tuple[float, ...] = ()
    p_values: tuple[float, ...] = ()
    adapted: bool = False
    reason: str = ""
