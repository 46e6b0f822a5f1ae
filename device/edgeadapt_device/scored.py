"""One run of the model over a batch, as the core wants to hear of it: an event for each frame.

Daemon, agent and inline device all score through here, so that a frame means the same everywhere.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec

from edgeadapt.errors import TransportError
from edgeadapt_device.core.events import FrameScored, Image
from edgeadapt_device.core.view import FramePlan
from edgeadapt_device.io.engines import Scores, Session


class Scored(msgspec.Struct, frozen=True):
    """A batch that went through the model: what it said, and an event for each of its frames.

    Attributes:
        scores: of the planned generation.
        events: for the core, in order.
        note: why the batch could not be compared with the generation before the trial; "" when it was, or
            was not to be.
    """

    scores: Scores
    events: tuple[FrameScored, ...]
    note: str = ""


def score(sessions: Mapping[int, Session], plan: FramePlan, first_index: int, images: Image) -> Scored:
    """Run [N, H, W, C] uint8 frames through the planned generation, and through the one before a trial.

    The plan holds for the whole batch: either all of its frames are probed or compared, or none is.

    Args:
        sessions: token to session.
        plan: what the core wants.
        first_index: position of the first frame; the others follow.
        images: the frames; kept by the events.

    Raises:
        TransportError: the runtime refuses the planned generation.
    """
    started_s = time.perf_counter()
    scores = sessions[plan.token].run(images, probe=plan.probe)
    latency_ms = 1000.0 * (time.perf_counter() - started_s) / len(images)
    old, note = _compare(sessions, plan, images)
    events = (
        FrameScored(
            index=first_index + number,
            image=image,
            logits=scores.logits[number],
            token=plan.token,
            embedding=scores.embedding[number],
            mean=scores.mean[number] if scores.mean is not None else None,
            mean_square=scores.mean_square[number] if scores.mean_square is not None else None,
            previous_logits=old.logits[number] if old is not None else None,
            previous_mean=old.mean[number] if old is not None and old.mean is not None else None,
            latency_ms=latency_ms,
        )
        for number, image in enumerate(images)
    )
    return Scored(scores, tuple(events), note)


def _compare(sessions: Mapping[int, Session], plan: FramePlan, images: Image) -> tuple[Scores | None, str]:
    """(What the generation before the trial says, probed like the new one, or None; why not)."""
    if plan.previous is None:
        return None, ""
    try:
        return sessions[plan.previous].run(images, probe=plan.probe), ""
    except TransportError as error:
        return None, f"a frame was not compared: {error}"
