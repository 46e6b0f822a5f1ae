"""int8 models on x86 processors without VNNI."""

from __future__ import annotations

from edgeadapt_device.io.engines.x86 import has_vnni

ATOM = "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu sse4_2 avx2\n"


def test_what_the_system_says_of_its_processors() -> None:
    assert not has_vnni(ATOM)
    assert not has_vnni("")
    assert has_vnni(ATOM.replace("avx2", "avx2 avx_vnni"))
    assert has_vnni(ATOM.replace("avx2", "avx512_vnni"))
    assert not has_vnni(ATOM.replace("avx2", "avx512_vnni") + ATOM)
    assert not has_vnni(ATOM.replace("avx2", "vnni_of_another_kind"))
