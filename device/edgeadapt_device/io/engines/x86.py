"""x86 processors without VNNI add pairs of products of 8 bits in 16, and cut what does not fit.

255 * 127 twice is 64,770, and 32,767 is all there is room for: int8 models are then silently wrong, as far as
their activations and weights are large. ONNX Runtime can be told to compute without it; where there is VNNI
that would take twice the time for nothing (measured), so it is asked for only where it is needed.
"""

from __future__ import annotations

import platform
from pathlib import Path

PRECISION_KEY = "session.x64quantprecision"
_CPUINFO = Path("/proc/cpuinfo")
_X86 = frozenset({"x86_64", "amd64", "i686", "i386", "x86"})


def cuts_products() -> bool:
    """Whether this machine's processor does so; True on x86 when nothing is known of it."""
    if platform.machine().lower() not in _X86:
        return False
    try:
        return not has_vnni(_CPUINFO.read_text(errors="replace"))
    except OSError:
        return True


def has_vnni(cpuinfo: str) -> bool:
    """Whether all processors in the text of /proc/cpuinfo have VNNI, as AVX-512 or AVX."""
    flags = [line.partition(":")[2].split() for line in cpuinfo.splitlines() if line.startswith("flags")]
    return bool(flags) and all({"avx512_vnni", "avx_vnni"} & set(found) for found in flags)
