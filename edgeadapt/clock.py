"""Time as an argument.

Cores never read a clock: every event comes with an `Instant`. Timers use `mono_s`, which never goes
back; expiry uses `wall_s`, which jumps on a board without a clock chip. Reading real clocks is the
drivers' business and is not here.
"""

from __future__ import annotations

import msgspec


class Instant(msgspec.Struct, frozen=True):
    """One moment, on both clocks.

    Attributes:
        mono_s: monotonic seconds since an arbitrary start.
        wall_s: seconds since 1970-01-01 UTC, as the device believes.
    """

    mono_s: float
    wall_s: float
