"""The source that a configuration names, with the feed that suits it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgeadapt.bundle.manifest import InputSpec
from edgeadapt.errors import ConfigError
from edgeadapt_device.config import SourceSection
from edgeadapt_device.io.sources.base import Report, Source
from edgeadapt_device.io.sources.camera import CameraSource
from edgeadapt_device.io.sources.capture import OpenCapture, camera, video_file
from edgeadapt_device.io.sources.feed import Feed, InlineFeed, ReadAhead
from edgeadapt_device.io.sources.files import file_reader
from edgeadapt_device.io.sources.fit import Fitter
from edgeadapt_device.io.sources.folder import FolderSource
from edgeadapt_device.io.sources.stream import StreamSource
from edgeadapt_device.io.sources.video import VideoSource
from edgeadapt_device.io.sources.watch import LEDGER_NAME, WatchSource


def open_feed(
    section: SourceSection,
    spec: InputSpec,
    *,
    state_dir: Path,
    report: Report,
    wake: Callable[[], None],
    opening: OpenCapture | None = None,
) -> Feed:
    """Open the source; nothing is read ahead before `start`.

    Args:
        section: [source].
        spec: what the model takes.
        state_dir: where a watched folder's ledger is.
        report: told what is worth knowing, from any thread.
        wake: called from the reader's thread when there is something to poll for.
        opening: opens the camera or the video in place of OpenCV.

    Raises:
        ConfigError: the source is missing, unusable, or does not fit the model.
    """
    source = _open(section, spec, state_dir, report, opening)
    if section.kind == "stream":
        return InlineFeed(source)
    return ReadAhead(
        source,
        room=section.queue_frames,
        newest=section.kind == "camera",
        stall_s=section.stall_s,
        wake=wake,
    )


def _open(
    section: SourceSection, spec: InputSpec, state_dir: Path, report: Report, opening: OpenCapture | None
) -> Source:
    path = Path(section.path)
    match section.kind:
        case "stream":
            return StreamSource(path, spec, loop=section.loop, report=report)
        case "folder":
            return FolderSource(path, file_reader(spec, section.resize), loop=section.loop, report=report)
        case "watch":
            return WatchSource(
                path,
                file_reader(spec, section.resize),
                state_dir / LEDGER_NAME,
                poll_s=section.poll_s,
                settle_s=section.settle_s,
                after=section.after,
                moved_to=Path(section.moved_to) if section.moved_to else None,
                report=report,
            )
        case "video":
            fitter = Fitter(spec, section.resize)
            return VideoSource(path, opening or video_file(path), fitter, loop=section.loop, report=report)
        case "camera":
            return _camera(section, Fitter(spec, section.resize), report, opening)


def _camera(
    section: SourceSection, fitter: Fitter, report: Report, opening: OpenCapture | None
) -> CameraSource:
    where = section.path
    if opening is None and "://" not in where and not where.isdigit() and not where.startswith("/dev/"):
        raise ConfigError(
            f'source.path: a camera is a number ("0"), a device ("/dev/video0") or a URL, got {where!r}'
        )
    opening = opening or camera(where, width=section.width, height=section.height, timeout_s=section.stall_s)
    return CameraSource(f"camera {where}", opening, fitter, stall_s=section.stall_s, report=report)
