"""A scored and judged frame, as the uplink sees it."""

from __future__ import annotations

import msgspec

from edgeadapt.tensors import FloatArray
from edgeadapt_device.core.events import Image
from edgeadapt_device.core.flagging.decision import Decision


class Candidate(msgspec.Struct, frozen=True):
    """A frame that may be worth its bytes.

    Attributes:
        index: position in the source.
        image: as in `FrameScored`.
        probabilities: [K] float32.
        predicted: the most likely class.
        entropy: of the prediction, in nats.
        embedding: [D] float32, when the engine gives one.
        decision: what the frame is to the model.
        segment: stretch of one domain.
        generation: what scored it.
        captured_s: wall clock.
        at_home: the segment looks like the source, or the frame belongs to another domain's patch.
        early: the segment is young.
        cluster: number of the quarantine cluster that it stands for, with so many `members`; 0 for a frame
            as it comes. Such a question was offered before, as a frame.
    """

    index: int
    image: Image
    probabilities: FloatArray
    predicted: int
    entropy: float
    embedding: FloatArray | None
    decision: Decision
    segment: int
    generation: str
    captured_s: float
    at_home: bool
    early: bool
    cluster: int = 0
    members: int = 1
