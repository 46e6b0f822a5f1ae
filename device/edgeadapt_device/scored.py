"""One run of the model over a batch, as the core wants to hear of it: an event for each frame.

Daemon, agent and inline device all score through here, so that a frame means the same everywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec
import numpy as np

from edgeadapt.errors import TransportError
from edgeadapt.tensors import FloatArray
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


def score(
    sessions: Mapping[int, Session],
    plan: FramePlan,
    first_index: int,
    images: Image,
    route: Callable[[FramePlan, FloatArray, FloatArray], tuple[int, ...]] | None = None,
) -> Scored:
    """Run [N, H, W, C] uint8 frames through the planned generation, and through the one before a trial.

    The plan holds for the whole batch: either all of its frames are probed or compared, or none is.

    Args:
        sessions: token to session.
        plan: what the core wants.
        first_index: position of the first frame; the others follow.
        images: the frames; kept by the events.
        route: the core's choice for each frame, by its moments; those that belong elsewhere are scored again.

    Raises:
        TransportError: the runtime refuses the planned generation.
    """
    started_s = time.perf_counter()
    scores = sessions[plan.token].run(images, probe=plan.probe)
    tokens: tuple[int, ...] = (plan.token,) * len(images)
    if route is not None and scores.mean is not None and scores.mean_square is not None:
        tokens = route(plan, scores.mean, scores.mean_square)
        scores = _score_again(sessions, plan, tokens, images, scores)
    latency_ms = 1000.0 * (time.perf_counter() - started_s) / len(images)
    old, note = _compare(sessions, plan, images)
    events = (
        FrameScored(
            index=first_index + number,
            image=image,
            logits=scores.logits[number],
            token=tokens[number],
            probed=plan.token,
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


def _score_again(
    sessions: Mapping[int, Session], plan: FramePlan, tokens: tuple[int, ...], images: Image, scores: Scores
) -> Scores:
    """The frames that belong to another generation than the planned one get its logits and embedding."""
    elsewhere = sorted(set(tokens) - {plan.token})
    if not elsewhere:
        return scores
    logits, embedding = scores.logits.copy(), scores.embedding.copy()
    for token in elsewhere:
        places = np.array([place for place, wanted in enumerate(tokens) if wanted == token])
        again = sessions[token].run(images[places], probe=False)
        logits[places], embedding[places] = again.logits, again.embedding
    return Scores(logits, embedding, scores.mean, scores.mean_square)


def _compare(sessions: Mapping[int, Session], plan: FramePlan, images: Image) -> tuple[Scores | None, str]:
    """(What the generation before the trial says, probed like the new one, or None; why not)."""
    if plan.previous is None:
        return None, ""
    try:
        return sessions[plan.previous].run(images, probe=plan.probe), ""
    except TransportError as error:
        return None, f"a frame was not compared: {error}"
