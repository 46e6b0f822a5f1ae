"""Is the clock right enough to judge patches and certificates by it?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from edgeadapt.errors import ConfigError, TrustError
from edgeadapt.patch import TrustedKeys, open_envelope
from edgeadapt_device.config import DeviceConfig, trusted_key_bytes
from edgeadapt_device.doctor.finding import Finding, failed, ok, warning
from edgeadapt_device.io.store import GenerationStore
from edgeadapt_device.service.health import EARLIEST_WALL_S
from edgeadapt_device.status import read_status

# What systemd-timesyncd leaves behind once it has set the clock.
_SYNCHRONISED = Path("/run/systemd/timesync/synchronized")
_STEP_S = 0.05
_DAY_S = 86_400.0
# Clocks that are corrected while running differ by parts in a thousand, not by this.
_APART_S = 0.5
_SET_IT = "let it be set: systemctl enable --now systemd-timesyncd, or a clock chip"


def look(config: DeviceConfig) -> Iterator[Finding]:
    """The wall clock, and the one that timers use."""
    wall_s = time.time()
    shown = datetime.fromtimestamp(wall_s, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    if wall_s < EARLIEST_WALL_S:
        yield failed("clock", f"it says {shown}: it was never set, and no certificate is valid then", _SET_IT)
    elif went_back := _went_back(config, wall_s):
        yield warning("clock", f"it says {shown}, {went_back}", _SET_IT)
    else:
        synchronised = "; the network keeps it" if _SYNCHRONISED.exists() else ""
        yield ok("clock", f"it says {shown}{synchronised}")
    yield from _patches(config, wall_s)
    yield _timers()


def _patches(config: DeviceConfig, wall_s: float) -> Iterator[Finding]:
    """What the device has stored, held against the clock."""
    store = GenerationStore(Path(config.device.state_dir) / "generation")
    _, envelopes = store.load()
    for note in store.notes:
        yield warning("state", note, "nothing: the device goes on with what is whole")
    trusted = TrustedKeys(trusted_key_bytes(config.trust))
    for data in envelopes.values():
        try:
            header = open_envelope(data, trusted).header
        except TrustError as error:
            yield warning("state", f"a stored patch is not believed: {error}", "pin its key, or let it go")
            continue
        name = f"patch {header.serial} of {header.cohort}"
        if header.created_s > wall_s + _DAY_S:
            yield warning(
                "clock", f"{name} was made on {_day(header.created_s)}: the clock is behind", _SET_IT
            )
        else:
            over = "has expired; confirmed, it goes on" if header.expires_s < wall_s else "is good"
            yield ok("state", f"{name}, stored here, {over} (until {_day(header.expires_s)})")


def _day(wall_s: float) -> str:
    try:
        return datetime.fromtimestamp(wall_s, timezone.utc).strftime("%Y-%m-%d")
    except (OverflowError, ValueError, OSError):
        return f"{wall_s:g} s after 1970"


def _went_back(config: DeviceConfig, wall_s: float) -> str:
    """Words on a device that was last seen in the future, or ""."""
    try:
        ahead_s = read_status(Path(config.device.state_dir)).time_s - wall_s
    except ConfigError:
        return ""
    return f"{ahead_s:.0f} s before the device last ran" if ahead_s > 60.0 else ""


def _timers() -> Finding:
    mono_s, wall_s = time.monotonic(), time.time()
    time.sleep(_STEP_S)
    passed_s, by_wall_s = time.monotonic() - mono_s, time.time() - wall_s
    if passed_s < _STEP_S / 2:
        return failed(
            "timers", f"{_STEP_S:g} s took {passed_s:g} s: the monotonic clock stands still", "reboot"
        )
    if abs(by_wall_s - passed_s) > _APART_S:
        jumped = f"the wall clock jumped by {by_wall_s - passed_s:.1f} s just now"
        return warning("timers", jumped, "see who sets it; timers do not follow it")
    return ok("timers", "the monotonic clock runs")
