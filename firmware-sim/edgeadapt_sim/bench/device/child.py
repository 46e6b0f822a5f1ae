"""A process of its own, to see what it takes: `python -m edgeadapt_sim.bench.device.child` with a `Task`.

It loads what a device would load and nothing else, scores frames, and prints a `Taken` as JSON.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

# Seconds from the last frame to the look at what is in use.
_REST_S = 3.0


class Task(msgspec.Struct, frozen=True):
    """What to do.

    Attributes:
        kind: the bare runtime, the runtime that gives freed memory back, or the agent.
        model: the model's file, or the bundle's folder.
        frames: `.npy` file of frames uint8 [N, H, W, C].
        count: frames to score.
        runtime: for the agent.
        precision: for the agent.
        single_session: for the agent.
    """

    kind: Literal["bare", "bare-trimmed", "agent"]
    model: str
    frames: str
    count: int
    runtime: str = "onnxruntime"
    precision: str = "float32"
    single_session: bool = False


class Taken(msgspec.Struct, frozen=True):
    """What it took.

    Attributes:
        first_s: monotonic second at which the first frame was scored; the clock is the whole machine's.
        steady_bytes: resident memory some seconds after the last frame.
        own_bytes: the part that is not shared with other processes (proportional set size).
        peak_bytes: most that was resident at any time.
    """

    first_s: float
    steady_bytes: int
    own_bytes: int
    peak_bytes: int


def main() -> None:
    """Read the task, run it, print what it took."""
    task = msgspec.json.decode(sys.argv[1], type=Task)
    with tempfile.TemporaryDirectory() as state:
        sys.stdout.buffer.write(msgspec.json.encode(_run(task, Path(state))))


def _run(task: Task, state: Path) -> Taken:
    import numpy as np

    frames = np.load(task.frames, mmap_mode="r")
    step, close = _step(task, state)
    step(np.array(frames[0]))
    first_s = time.monotonic()
    for index in range(1, task.count):
        step(np.array(frames[index % len(frames)]))
    # A session may be in the making, and what is freed goes back to the system when there is time for it.
    time.sleep(_REST_S if task.count > 1 else 0.0)
    steady_bytes = _status("VmRSS")
    # The kernel counts both per thread and in batches, so the most may lag behind by some pages.
    taken = Taken(first_s, steady_bytes, _own(), max(steady_bytes, _status("VmHWM")))
    close()
    return taken


def _step(task: Task, state: Path) -> tuple[Callable[[object], object], Callable[[], None]]:
    if task.kind != "agent":
        from edgeadapt_sim.bench.device.bare import bare

        step = bare(Path(task.model))
        if task.kind == "bare-trimmed":
            import ctypes

            ctypes.CDLL(None).malloc_trim(0)
        return step, lambda: None  # type: ignore[return-value]
    from edgeadapt_device import Agent

    agent = Agent(
        task.model,
        device={"name": "bench", "state_dir": str(state)},
        mqtt={"host": "127.0.0.1", "port": 9, "enabled": True},
        engine={
            "runtime": task.runtime,
            "precision": task.precision,
            "single_session": task.single_session,
        },
    )
    return agent.infer, agent.close  # type: ignore[return-value]


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(key)


def _own() -> int:
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise LookupError("Pss")


if __name__ == "__main__":
    main()
