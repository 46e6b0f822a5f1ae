"""Memory and start of the agent above those of the bare runtime, each in fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

from edgeadapt.bundle.manifest import Artifact
from edgeadapt.errors import TransportError
from edgeadapt_sim.bench.device.bundles import Prepared
from edgeadapt_sim.bench.device.child import Taken, Task
from edgeadapt_sim.bench.device.timing import Frames

_TIMEOUT_S = 300.0


class Memory(msgspec.Struct, frozen=True):
    """Bytes that are resident: after many frames, of that not shared, and at the most."""

    steady: int
    own: int
    peak: int


class Footprint(msgspec.Struct, frozen=True):
    """The agent beside the bare runtime.

    Attributes:
        bare: the runtime as anybody would call it.
        trimmed: the same, with freed memory given back after loading, as our engine does.
        agent: the whole agent.
        single: the whole agent with one session for both graphs.
        bare_start_s: from the process's begin to its first answer; median.
        agent_start_s: likewise.
    """

    bare: Memory
    trimmed: Memory
    agent: Memory
    single: Memory
    bare_start_s: float
    agent_start_s: float

    @property
    def above_bytes(self) -> int:
        """Steady memory of the agent above the bare runtime."""
        return self.agent.steady - self.bare.steady

    @property
    def start_above_s(self) -> float:
        """Start of the agent above the bare runtime."""
        return self.agent_start_s - self.bare_start_s


def footprint(
    prepared: Prepared, artifact: Artifact, frames: Frames, *, count: int, starts: int
) -> Footprint:
    """Run the processes; raises TransportError when one fails.

    Args:
        prepared: the network.
        artifact: which model.
        frames: to score.
        count: frames for the memory; enough for statistics to be re-estimated and sessions to be built.
        starts: processes of each kind for the start.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "frames.npy"
        np.save(path, frames)
        bare = Task("bare", str(prepared.bare(artifact)), str(path), count)
        agent = Task("agent", str(prepared.plain), str(path), count, artifact.runtime, artifact.precision)
        replace = msgspec.structs.replace
        kinds = (bare, replace(bare, kind="bare-trimmed"), agent, replace(agent, single_session=True))
        bare_memory, trimmed, agent_memory, single = (_memory(_run(task)[0]) for task in kinds)
        begun: dict[str, list[float]] = {"bare": [], "agent": []}
        for _ in range(starts):
            for task in (bare, agent):
                begun[task.kind].append(_run(replace(task, count=1))[1])
    return Footprint(
        bare_memory,
        trimmed,
        agent_memory,
        single,
        float(np.median(begun["bare"])),
        float(np.median(begun["agent"])),
    )


def _memory(taken: Taken) -> Memory:
    return Memory(taken.steady_bytes, taken.own_bytes, taken.peak_bytes)


def _run(task: Task) -> tuple[Taken, float]:
    """(what it took, seconds from its begin to the first answer)."""
    command = [sys.executable, "-m", "edgeadapt_sim.bench.device.child", msgspec.json.encode(task).decode()]
    began_s = time.monotonic()
    done = subprocess.run(
        command,
        capture_output=True,
        timeout=_TIMEOUT_S,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise TransportError(f"a {task.kind} process failed: {lines[-1]}")
    taken = msgspec.json.decode(done.stdout, type=Taken)
    return taken, taken.first_s - began_s
