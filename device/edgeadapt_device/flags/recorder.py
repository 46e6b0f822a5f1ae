"""From the core's events and effects to the flag journal, without a word to the core.

It watches what goes in and comes out (`Performer.drain`), and writes what a person may ask about later.
Frames that were strange but cost nothing are written at most one a second on the long run, so that the
journal wears no card out; what was stored is always written.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence

import msgspec

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.errors import WireError
from edgeadapt.wire import Sample, decode
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.core import DeviceCore
from edgeadapt_device.core import effects as fx
from edgeadapt_device.core import events as ev
from edgeadapt_device.core.flagging.decision import Decision
from edgeadapt_device.core.uplink.asking import ITEM_BYTES
from edgeadapt_device.core.uplink.budget import OVERHEAD_BYTES
from edgeadapt_device.flags.journal import FlagJournal
from edgeadapt_device.flags.lines import (
    FateLine,
    FrameLine,
    RowFate,
    RowLine,
    SampleLine,
    ScoreLine,
    WindowLine,
)
from edgeadapt_device.io.outbox import Outbox

# Frames that cost nothing: so many at once, and one a second after that.
_BURST = 64.0
# Windows that end within so many seconds share a line.
_WINDOWS_S = 10.0
# Frames whose line is known to be written.
_REMEMBERED = 4096


class Recorder:
    """Writes one device's journal. Used from the thread that owns the core."""

    def __init__(
        self, journal: FlagJournal, core: DeviceCore, bundle: Bundle, config: DeviceConfig, outbox: Outbox
    ) -> None:
        """Write to `journal` what `core` decides; `outbox` is where its samples are stored."""
        self._journal, self._outbox = journal, outbox
        self._names, self._alpha = core.flagging.names, config.flagging.alpha
        self._classes, self._hour_bytes = bundle.manifest.classes, config.budget.bytes_per_hour
        self._stores: deque[fx.StoreSample] = deque()
        self._written: OrderedDict[int, None] = OrderedDict()
        self._left, self._left_s = _BURST, 0.0
        # A line about windows that is not written yet, and since when.
        self._window: tuple[WindowLine, float] | None = None

    def saw(self, event: ev.Event, effects: Sequence[fx.Effect], now: Instant) -> None:
        """An event went into the core, and these effects came out."""
        if not isinstance(event, ev.FrameScored):
            self._take(event, now)
        for number, effect in enumerate(effects):
            if isinstance(effect, fx.StoreSample):
                self._stores.append(effect)
                if effect.decision is not None and effect.frame not in self._written:
                    self._frame(
                        effect.frame,
                        effect.segment,
                        effect.generation,
                        effect.predicted,
                        effect.entropy,
                        effect.decision,
                        now,
                    )
            elif isinstance(effect, fx.Flagged):
                self._flagged(effect, now)
            elif isinstance(effect, fx.LeftOut):
                self._left_out(effect, now)
            elif isinstance(effect, fx.Forget):
                self._rows(effect.sequences, *_forgotten(event, effects[number + 1 : number + 2]), now)
            elif isinstance(effect, fx.FreeHeld):
                self._rows(effect.sequences, *_freed(event), now)

    def tick(self, now: Instant) -> None:
        """Time goes by: what has waited for a second is written."""
        if self._window is not None and now.mono_s - self._window[1] >= _WINDOWS_S:
            self._journal.write(self._window[0], now.mono_s)
            self._window = None
        self._journal.flush_if_due(now.mono_s)

    def close(self) -> None:
        """Write what waits."""
        if self._window is not None:
            self._journal.write(self._window[0], self._window[1])
            self._window = None
        self._journal.close()

    def _take(self, event: ev.Event, now: Instant) -> None:
        match event:
            case ev.Stored(sequence, "sample", size_bytes) if self._stores:
                self._stored(
                    self._stores.popleft(), sequence, size_bytes, now, held=event.waiting is not None
                )
            case ev.NotStored("sample") if self._stores:
                store = self._stores.popleft()
                line = SampleLine(
                    time_s=now.wall_s, frame=store.frame, lane=store.lane, trouble=_trouble(event)
                )
                self._journal.write(line, now.mono_s)
            case ev.Dropped(sequences, reason):
                self._rows(sequences, "dropped", reason or "the outbox was full", now)
            case _:
                pass

    def _stored(
        self, store: fx.StoreSample, sequence: int, size_bytes: int, now: Instant, *, held: bool
    ) -> None:
        line = SampleLine(
            time_s=now.wall_s,
            frame=store.frame,
            lane=store.lane,
            sequence=sequence,
            outbox=self._outbox.outbox_id,
            codec=self._codec(sequence),
            size_bytes=size_bytes,
            cost_bytes=size_bytes + OVERHEAD_BYTES,
            hour_bytes=self._hour_bytes,
            chance=store.chance,
            held=held,
            told_bytes=ITEM_BYTES if held else 0,
            cluster=store.cluster,
            members=store.members if store.cluster else 0,
        )
        self._journal.write(line, now.mono_s)

    def _codec(self, sequence: int) -> str:
        row = self._outbox.payload(sequence)
        if row is None:
            return ""
        try:
            sample = decode(row[1], Sample)
        except WireError:
            return ""
        return sample.codec if isinstance(sample, Sample) else ""

    def _rows(self, sequences: tuple[int, ...], fate: RowFate, why: str, now: Instant) -> None:
        line = RowLine(
            time_s=now.wall_s, outbox=self._outbox.outbox_id, sequences=sequences, fate=fate, why=why
        )
        self._journal.write(line, now.mono_s)

    def _flagged(self, effect: fx.Flagged, now: Instant) -> None:
        frame = effect.frame
        # A question is always told of, and a story that was begun is told to its end, but for repetitions.
        begun = frame.index in self._written and effect.fate not in ("dear", "barred")
        if effect.fate != "asked" and not begun and not self._may(now):
            return
        if frame.index not in self._written:
            self._frame(
                frame.index,
                frame.segment,
                frame.generation,
                frame.predicted,
                frame.entropy,
                frame.decision,
                now,
            )
        line = FateLine(
            time_s=now.wall_s,
            frame=frame.index,
            fate=effect.fate,
            cluster=effect.cluster,
            members=effect.members,
            p_value=frame.decision.p_value,
        )
        self._journal.write(line, now.mono_s)

    def _left_out(self, effect: fx.LeftOut, now: Instant) -> None:
        """Windows of one frame, as some policies have, would fill the journal: those of a while share one."""
        line = WindowLine(
            time_s=now.wall_s,
            segment=effect.segment,
            first=effect.first,
            last=effect.last,
            held=effect.held,
            chosen=effect.chosen,
        )
        open_line, since_s = self._window, now.mono_s
        if open_line is not None:
            if open_line[0].segment == line.segment and now.mono_s - open_line[1] < _WINDOWS_S:
                line, since_s = _joined(open_line[0], line), open_line[1]
            else:
                self._journal.write(open_line[0], now.mono_s)
        self._window = (line, since_s)

    def _may(self, now: Instant) -> bool:
        self._left = min(self._left + max(now.mono_s - self._left_s, 0.0), _BURST)
        self._left_s = now.mono_s
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def _frame(
        self,
        frame: int,
        segment: int,
        generation: str,
        predicted: int,
        entropy: float,
        decision: Decision,
        now: Instant,
    ) -> None:
        self._written[frame] = None
        if len(self._written) > _REMEMBERED:
            self._written.popitem(last=False)
        rows = zip(self._names, decision.scores, decision.p_values, decision.bounds, strict=False)
        line = FrameLine(
            time_s=now.wall_s,
            frame=frame,
            segment=segment,
            generation=generation,
            predicted=self._classes[predicted],
            entropy=entropy,
            verdict=decision.verdict,
            p_value=decision.p_value,
            alpha=self._alpha,
            adapted=decision.adapted,
            thresholds=decision.thresholds,
            calibrated=decision.calibrated,
            reason=decision.reason,
            scores=tuple(ScoreLine(*row) for row in rows),
            window=decision.window.text if decision.window is not None else "",
        )
        self._journal.write(line, now.mono_s)


def _joined(early: WindowLine, late: WindowLine) -> WindowLine:
    return msgspec.structs.replace(
        early,
        time_s=late.time_s,
        last=late.last,
        held=early.held + late.held,
        chosen=early.chosen + late.chosen,
        windows=early.windows + 1,
    )


def _trouble(event: ev.NotStored) -> str:
    """Why a chosen frame was not stored."""
    if event.too_large:
        return "larger than the server takes"
    if not event.size_bytes:
        return "kept here by a privacy switch: see the log"
    if event.size_bytes > event.price_bytes:
        size, price = event.size_bytes, event.price_bytes
        return f"not affordable: {size:,} bytes in the smallest encoding, and {price:,} were paid for it"
    return "not stored: see the log"


def _freed(event: ev.Event) -> tuple[RowFate, str]:
    """Why held rows are to be sent: the server said so, or it never said anything."""
    if isinstance(event, ev.Received) and event.topic.endswith("/want"):
        return "wanted", ""
    return "unasked", "the server never said whether it wants it"


def _forgotten(event: ev.Event, after: Sequence[fx.Effect]) -> tuple[RowFate, str]:
    """Why rows are let go: what can never be sent is told of right after; else the server has spoken."""
    for effect in after:
        if isinstance(effect, fx.Log):
            return "dropped", effect.text.partition("dropped: ")[2] or effect.text
    want = isinstance(event, ev.Received) and event.topic.endswith("/want")
    return ("declined", "") if want else ("acknowledged", "")
