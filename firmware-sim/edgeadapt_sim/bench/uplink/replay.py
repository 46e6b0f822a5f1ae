"""What a device sends of what it was recorded to offer, under one policy and one budget in bytes.

Frames come in order, and a choice rests on what came before: nothing is chosen in hindsight. Choosing, paying
and encoding are the device's own code; only the budget's size is the study's. A device's part of the stream
is spread over one hour, in which the budget grants a share of what all of its frames would cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from edgeadapt.clock import Instant
from edgeadapt.wire import Lane, encode
from edgeadapt_device.config import DeviceConfig, PrivacySection
from edgeadapt_device.core.effects import StoreSample
from edgeadapt_device.core.events import Image
from edgeadapt_device.core.uplink.budget import HOUR_S, OVERHEAD_BYTES, Budget
from edgeadapt_device.core.uplink.candidate import Candidate
from edgeadapt_device.core.uplink.selection import Selection
from edgeadapt_device.io.leaving import ROW_BYTES, Encoder, TooDear
from edgeadapt_sim.bench.uplink import baselines
from edgeadapt_sim.bench.uplink.policies import Choice
from edgeadapt_sim.bench.uplink.recording import Offered, device_config

LINK_BYTES = OVERHEAD_BYTES
"""What a message costs on the link beside its payload."""
# Share of an hour's budget that can be spent at once, as the device has it by default, and least number of
# windows that it saves up for: with less, the adapt lane cannot keep what is left of one window for the next.
_BURST_SHARE, _BURST_WINDOWS = 1 / 4, 2
_REPORT_SHARE = 1 / 16  # of an hour, which the budget keeps for reports; there are none here
_PLENTY = 1 << 30

Sizes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Upload:
    """A sample that was sent.

    Attributes:
        frame: its place in the device's part.
        lane: in which it was sent.
        size_bytes: on the link, protocol overhead included.
        image: as the cloud has it.
    """

    frame: int
    lane: Lane
    size_bytes: int
    image: Image


def payload_sizes(offered: Offered) -> Sizes:
    """[N] bytes of the MQTT payload that each frame would be."""
    encoder = Encoder(PrivacySection())
    return np.array([_size(encoder, _plain(frame)) for frame in offered.frames], dtype=np.int64)


def replay(
    offered: Offered, sizes: Sizes, choice: Choice, share: float, seed: Sequence[int]
) -> tuple[Upload, ...]:
    """Play one device's part to one policy."""
    return _Player(offered, sizes, choice, share, np.random.default_rng(list(seed))).play()


class _Player:
    """One device's uplink without its link."""

    def __init__(
        self, offered: Offered, sizes: Sizes, choice: Choice, share: float, rng: np.random.Generator
    ) -> None:
        config = _configured(choice, float((sizes + LINK_BYTES).sum()) * share, len(sizes))
        first = offered.frames[0]
        self._offered = offered
        shares: dict[Lane, float] = {
            "adapt": config.flagging.adapt_share,
            "ask": config.flagging.ask_share,
            "audit": config.flagging.audit_share,
        }
        self._budget = Budget(config.budget, shares)
        self._selection = Selection(
            config, len(first.probabilities), first.image.nbytes, self._budget, rng, frozenset()
        )
        self._encoder = Encoder(config.privacy)
        self._uploads: list[Upload] = []

    def play(self) -> tuple[Upload, ...]:
        frames, segment = self._offered.frames, self._offered.frames[0].segment
        questions = {question.after: question.about for question in self._offered.questions}
        now = Instant(0.0, 0.0)
        for number, frame in enumerate(frames):
            now = Instant(HOUR_S * number / len(frames), 0.0)
            if frame.segment != segment:
                segment = frame.segment
                self._keep(self._selection.new_segment(now), now)
            self._keep(self._selection.offer(frame, now)[0], now)
            self._keep(self._selection.ask(questions.get(number + 1, ()), now), now)
        self._keep(self._selection.close(now), now)
        return tuple(self._uploads)

    def _keep(self, stores: Iterable[StoreSample], now: Instant) -> None:
        """Encode, settle what was paid, and send at once."""
        for store in stores:
            try:
                size = _size(self._encoder, store)
            except TooDear as error:
                self._budget.refund(store.lane, store.price_bytes)
                self._selection.costs.learn(error.size_bytes)
                continue
            self._selection.costs.learn(size)
            self._budget.settle(store.lane, store.price_bytes, size)
            self._budget.send(store.lane, size, now, chosen=True)
            self._uploads.append(Upload(store.frame, store.lane, size + LINK_BYTES, store.image))


def _configured(choice: Choice, whole_bytes: float, frames: int) -> DeviceConfig:
    """A device that may spend so much in the hour that the study takes.

    There is no borrowing, so that no policy spends more than another, and no window ends for its length.
    """
    baselines.register()
    replace = msgspec.structs.replace
    config = device_config(0)
    flagging = replace(config.flagging, policy=choice.policy, window_s=2 * HOUR_S)
    if not choice.lanes:
        whole_window = max(flagging.window_frames, flagging.reservoir_per_class)
        flagging = replace(
            flagging,
            adapt_share=1.0,
            ask_share=0.0,
            audit_share=0.0,
            audit_chance=0.0,
            reservoir_per_class=whole_window,
        )
    burst = max(_BURST_SHARE, _BURST_WINDOWS * flagging.window_frames / frames)
    hour = round(whole_bytes / (1.0 - _REPORT_SHARE))
    budget = replace(
        config.budget,
        bytes_per_hour=hour,
        bytes_per_day=_PLENTY,
        burst_bytes=max(round(min(burst, 1.0) * whole_bytes), 1),
        debt_bytes=0,
        segment_share=1.0,
    )
    return replace(config, flagging=flagging, budget=budget)


def _size(encoder: Encoder, store: StoreSample) -> int:
    sample, picture_bytes = encoder.encode(store)
    if picture_bytes:
        # An embedding alone teaches nothing: to this study it is not there.
        raise TooDear(picture_bytes)
    return len(encode(sample)) + ROW_BYTES


def _plain(frame: Candidate) -> StoreSample:
    return StoreSample(
        image=frame.image,
        segment=frame.segment,
        lane="adapt",
        entropy=frame.entropy,
        predicted=frame.predicted,
        generation=frame.generation,
        captured_s=frame.captured_s,
        price_bytes=_PLENTY,
        frame=frame.index,
        verdict=frame.decision.verdict,
        p_value=frame.decision.p_value,
    )
