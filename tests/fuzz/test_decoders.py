"""Garbage and mutated bytes give a typed error, in bounded time and memory, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutate import mutated, restructured
from tests.fuzz.targets import TARGETS, Target

ROOT = Path(__file__).parents[2]
EACH = pytest.mark.parametrize("target", TARGETS, ids=lambda entry: entry.name)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@EACH
def test_a_target_takes_its_own_seeds(target: Target) -> None:
    for seed in target.seeds():
        target.run(seed)


@EACH
@QUICK
@given(data=st.binary(max_size=400))
def test_garbage(target: Target, data: bytes) -> None:
    target.run(data)


@EACH
@QUICK
@given(seed=st.integers(0, 2**32 - 1))
def test_mutated_bytes(target: Target, seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = target.seeds()
    for _ in range(4):
        target.run(mutated(found[int(rng.integers(0, len(found)))], rng))
        target.run(restructured(found[int(rng.integers(0, len(found)))], rng))


@EACH
@QUICK
@given(data=st.data())
def test_prefixes_and_tails(target: Target, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(target.seeds()))
    cut = data.draw(st.integers(0, len(seed)))
    target.run(seed[:cut])
    target.run(seed[cut:])
    target.run(seed + seed[:cut])


def peak_growth_kib(script: str) -> int:
    """Kibibytes by which the peak resident memory of a child grew while `attack()` of a script ran."""
    frame = (
        "import resource\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"{script}\n"
        "warm()\nbefore = peak()\nattack()\nprint(peak() - before)\n"
    )
    path = os.pathsep.join([str(ROOT), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", frame],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout.split()[-1])


BOMBS = """
import struct, zlib
from edgeadapt_cloud.io.images import decode_image
from tests.fuzz.targets import BUNDLE, target

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

def png(width, height, idat, extra=b"", depth=8, colour=0):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", idat)
            + chunk(b"IEND", b""))

def jpeg(width, height):
    good = [s for s in target("image").seeds() if s.startswith(b"\\xff\\xd8")][0]
    at = good.index(b"\\xff\\xc0") + 5
    return good[:at] + struct.pack(">HH", height, width) + good[at + 4:]

squeezer = zlib.compressobj(9)
BOMB = b"".join(squeezer.compress(bytes(1 << 20)) for _ in range(300)) + squeezer.flush()
BOMBS = [
    png(60_000, 60_000, BOMB), png(8, 8, BOMB), png(2**31 - 1, 2**31 - 1, BOMB), jpeg(60_000, 60_000),
    png(8, 8, BOMB, chunk(b"zTXt", b"k\\0\\0" + BOMB)), png(8, 8, BOMB, chunk(b"iCCP", b"k\\0\\0" + BOMB)),
    png(8, 8, BOMB, chunk(b"iTXt", b"k\\0\\1\\0\\0\\0" + BOMB)),
]
"""


def test_pictures_that_promise_too_much_cost_no_memory() -> None:
    script = BOMBS + (
        "def warm():\n    [target('image').run(s) for s in target('image').seeds()]\n"
        "def attack():\n    [decode_image(data, BUNDLE.manifest.input) for data in BOMBS]\n"
    )
    assert peak_growth_kib(script) < 32 << 10, "300 MiB lie in each of them"


def test_a_thousand_mutations_of_everything_cost_no_memory() -> None:
    script = """
import numpy as np
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import TARGETS

def warm():
    [t.run(s) for t in TARGETS for s in t.seeds()]

def attack():
    rng = np.random.default_rng(7)
    for t in TARGETS:
        found = t.seeds()
        for n in range(1000):
            t.run(mutated(found[n % len(found)], rng, 6))
"""
    assert peak_growth_kib(script) < 48 << 10


def test_make_fuzz_runs_every_target() -> None:
    """The list comes from the code, so none can be forgotten."""
    named = subprocess.run(
        ["make", "-n", "fuzz", "SECONDS=1"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "python -m tests.fuzz.targets" in named.stdout
    listed = [sys.executable, "-m", "tests.fuzz.targets"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [target.name for target in TARGETS]
