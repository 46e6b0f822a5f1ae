"""What is timed: the bare runtime, our engine three ways, the whole agent; each takes a frame at a time."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeadapt.bundle import Bundle, Slot, read_folder
from edgeadapt.bundle.manifest import Artifact
from edgeadapt.tensors import FloatArray
from edgeadapt_device import Agent
from edgeadapt_device.config import EngineSection
from edgeadapt_device.io.engines import Session, open_engine
from edgeadapt_sim.bench.device.bare import Step
from edgeadapt_sim.bench.device.bundles import Prepared

# A port where nobody listens: the agent flags and stores for a broker that is away.
OFFLINE = {"host": "127.0.0.1", "port": 9, "enabled": True}
# The share of probed frames falls from all of so many as 1/n, to the settled one after two hundred.
_YOUNG_FRAMES = 2


def settings_for(artifact: Artifact) -> EngineSection:
    """The engine for an artifact, on one thread."""
    return EngineSection(runtime=artifact.runtime, precision=artifact.precision)


def session_step(session: Session) -> Step:
    """Scores a frame with a session of ours, not probed."""

    def step(frame: npt.NDArray[np.uint8]) -> object:
        return session.run(frame[None], probe=False)

    return step


def other_values(bundle: Bundle, seed: int = 1) -> dict[str, FloatArray]:
    """Another value for every slot, within its bounds, of the size that patches have."""
    rng = np.random.default_rng(seed)
    return {
        slot.name: _other(slot, bundle.slots[slot.name], rng)
        for slot in bundle.manifest.slots
        if slot.kind != "extra"
    }


def _other(slot: Slot, base: FloatArray, rng: np.random.Generator) -> FloatArray:
    moved = base * rng.uniform(0.95, 1.05, base.shape)
    if not slot.kind.startswith("norm"):
        moved = moved + rng.normal(0.0, 0.01, base.shape)
    return np.clip(moved, slot.lower, slot.upper).astype(np.float32)


def engine_steps(prepared: Prepared, artifact: Artifact) -> dict[str, Step]:
    """Our engine with the base, with a patch, and with a prompt and adapters in use."""
    plain, slots = read_folder(prepared.plain), read_folder(prepared.with_slots(artifact.precision))
    settings = settings_for(artifact)
    engine = open_engine(plain, settings)
    return {
        "base": session_step(engine.build({})),
        "patched": session_step(engine.build(other_values(plain))),
        "slots": session_step(open_engine(slots, settings).build(other_values(slots))),
    }


@contextmanager
def agent_step(bundle: Path, artifact: Artifact, *, young: bool = False) -> Iterator[Step]:
    """The whole agent with its state in a folder of its own; `young` leaves the first frames all probed."""
    # That its broker is away, as it is meant to be, is not for the terminal.
    logging.getLogger("edgeadapt").addHandler(logging.NullHandler())
    probe: dict[str, object] = {} if young else {"young_frames": _YOUNG_FRAMES}
    with (
        tempfile.TemporaryDirectory() as state,
        Agent(
            bundle,
            device={"name": "bench", "state_dir": state},
            mqtt=OFFLINE,
            engine=settings_for(artifact),
            probe=probe,
        ) as agent,
    ):
        yield agent.infer
