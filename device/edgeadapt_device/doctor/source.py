"""Does the source open, and do its frames fit the model? Nothing of it is used up."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from edgeadapt.bundle import Bundle
from edgeadapt.errors import ConfigError, TransportError
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.doctor.finding import Finding, failed, ok, warning
from edgeadapt_device.io.engines import check_shape
from edgeadapt_device.io.sources import Feed, Frame, SourceReport, SourceState, open_feed
from edgeadapt_device.service.seen import see

_PATIENCE_S = 15.0
_STEP_S = 0.1
_HOPELESS = (SourceState.STALLED, SourceState.LOST, SourceState.MISFIT)


def look(config: DeviceConfig, bundle: Bundle, *, runs: bool) -> Iterator[Finding]:
    """Read one frame; what a running device reads is left to it."""
    where = f"{config.source.kind} {config.source.path}"
    if runs:
        yield _of_running(config, where)
        return
    told: list[str] = []
    woken = threading.Event()
    # A ledger of its own: nothing here may count as scored.
    with tempfile.TemporaryDirectory() as folder:
        try:
            feed = open_feed(
                config.source,
                bundle.manifest.input,
                state_dir=Path(folder),
                report=told.append,
                wake=woken.set,
            )
        except ConfigError as error:
            yield failed("source", str(error), "set source.kind and source.path to what is there")
            return
        try:
            yield _first_frame(feed, bundle, where, told, woken)
        finally:
            feed.close()


def _of_running(config: DeviceConfig, where: str) -> Finding:
    try:
        status = see(Path(config.device.state_dir), config.http).status
    except ConfigError:
        return ok("source", f"{where} is left to the device that runs")
    if status.source in [state.value for state in _HOPELESS]:
        return failed("source", f"{where} is {status.source}: {status.source_trouble}", "as it says")
    return ok("source", f"{where} is {status.source or 'in use'} in the device that runs: not opened again")


def _first_frame(feed: Feed, bundle: Bundle, where: str, told: list[str], woken: threading.Event) -> Finding:
    try:
        frame = _poll(feed, woken)
    except (ConfigError, TransportError) as error:
        return failed("source", str(error), "as it says")
    if frame is None:
        return _without(feed.seen, where, told)
    try:
        check_shape(bundle, frame.image.shape)
    except ConfigError as error:
        return failed("source", str(error), 'set source.resize = "crop", or compile a model for such frames')
    frames = f", {feed.count} frames" if feed.count is not None else ""
    said = f"; it said: {told[-1]}" if told else ""
    return ok("source", f"{where}: frames {list(frame.image.shape)} of {frame.image.dtype}{frames}{said}")


def _poll(feed: Feed, woken: threading.Event) -> Frame | None:
    """The first frame; None when there is none in a while, or the source says that none will come."""
    feed.start(0)
    end_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end_s:
        woken.clear()
        frame = feed.poll()
        if frame is not None:
            return frame
        if feed.ended or feed.seen.state in (*_HOPELESS, SourceState.WAITING):
            return None
        woken.wait(_STEP_S)
    return None


def _without(seen: SourceReport, where: str, told: list[str]) -> Finding:
    if seen.state is SourceState.WAITING and not seen.trouble:
        return ok("source", f"{where} is open; nothing new is in it yet")
    trouble = seen.trouble or (told[-1] if told else f"no frame in {_PATIENCE_S:g} s")
    if seen.state is SourceState.ENDED:
        return warning("source", f"{where} has no usable frame: {trouble}", "put frames into it")
    return failed(
        "source", f"{where} is {seen.state.value}: {trouble}", "check the cable, the path and the rights"
    )
