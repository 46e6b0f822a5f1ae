"""Is the clock right enough to judge patches and certificates by it?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from edgeadapt.errors import ConfigError
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.doctor.finding import Finding, failed, ok, warning
from edgeadapt_device.service.health import EARLIEST_WALL_S
from edgeadapt_device.status import read_status

# What systemd-timesyncd leaves behind once it has set the clock.
_SYNCHRONISED = Path("/run/systemd/timesync/synchronized")
_STEP_S = 0.05
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
    yield _timers()


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
