"""What a new generation costs: the time to apply a patch, and the longest gap between frames meanwhile."""

from __future__ import annotations

import queue
import time

import msgspec
import numpy as np

from edgeadapt.bundle import Bundle
from edgeadapt.bundle.manifest import Artifact
from edgeadapt_device.core.events import GenerationFailed, GenerationReady
from edgeadapt_device.io.builder import Builder
from edgeadapt_device.io.engines import Session, open_engine
from edgeadapt_sim.bench.device.arms import other_values, settings_for
from edgeadapt_sim.bench.device.timing import Frames

_TIMEOUT_S = 120.0
_BEFORE = 8


class Apply(msgspec.Struct, frozen=True):
    """Seconds from slot values to a warm session (median), and the part that writes the model's bytes."""

    seconds: float
    write_s: float


class Gap(msgspec.Struct, frozen=True):
    """The longest pause between two frames from a build's begin to its first frame, in frame times."""

    worst: float
    median: float
    frame_s: float


def apply_time(bundle: Bundle, artifact: Artifact, repeats: int) -> Apply:
    """Build sessions with nothing else going on."""
    engine = open_engine(bundle, settings_for(artifact))
    builds, writes = [], []
    for number in range(repeats):
        values = other_values(bundle, number)
        began_s = time.perf_counter()
        bundle.fast_model(artifact, values)
        wrote_s = time.perf_counter()
        engine.build(values)
        writes.append(wrote_s - began_s)
        builds.append(time.perf_counter() - wrote_s)
    return Apply(float(np.median(builds)), float(np.median(writes)))


def swap_gap(bundle: Bundle, artifact: Artifact, frames: Frames, swaps: int) -> Gap:
    """Score frames as fast as possible while the builder's thread makes the next session beside."""
    engine = open_engine(bundle, settings_for(artifact))
    ready: queue.SimpleQueue[tuple[GenerationReady | GenerationFailed, Session | None]] = queue.SimpleQueue()
    builder = Builder(engine, lambda event, session: ready.put((event, session)))
    builder.start()
    session = engine.build({})
    gaps, usual = [], []
    try:
        for number in range(swaps):
            quiet = _intervals(session, frames, _BEFORE)
            builder.request(number, other_values(bundle, number))
            session, longest_s = _until_swapped(session, frames, ready)
            frame_s = float(np.median(quiet))
            usual.append(frame_s)
            gaps.append(longest_s / frame_s)
    finally:
        builder.stop(_TIMEOUT_S)
    return Gap(max(gaps), float(np.median(gaps)), float(np.median(usual)))


def _intervals(session: Session, frames: Frames, count: int) -> list[float]:
    ends = []
    for index in range(count + 1):
        session.run(frames[index % len(frames)][None], probe=False)
        ends.append(time.perf_counter())
    return list(np.diff(ends))


def _until_swapped(
    session: Session,
    frames: Frames,
    ready: queue.SimpleQueue[tuple[GenerationReady | GenerationFailed, Session | None]],
) -> tuple[Session, float]:
    """(the new session, the longest interval up to the end of its first frame)."""
    last_s, longest_s, index = time.perf_counter(), 0.0, 0
    fresh: Session | None = None
    while fresh is None:
        if not ready.empty():
            event, fresh = ready.get()
            if fresh is None:
                raise RuntimeError(f"a session could not be built: {event}")
            session = fresh
        session.run(frames[index % len(frames)][None], probe=False)
        now_s = time.perf_counter()
        longest_s, last_s, index = max(longest_s, now_s - last_s), now_s, index + 1
    return session, longest_s
