"""The study: every network on every engine and precision, one after the other.

A case is timed in rounds (`timing`, `arms`), then its swaps (`swaps`) and its processes (`footprint`). What
the figures are held against is in `targets`, what becomes of them in `output`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np

from edgeadapt.bundle import Bundle, read_folder
from edgeadapt.bundle.manifest import Artifact
from edgeadapt_sim.bench.device.arms import agent_step, engine_steps
from edgeadapt_sim.bench.device.bare import Step, bare
from edgeadapt_sim.bench.device.bundles import Prepared, prepare, source_of
from edgeadapt_sim.bench.device.footprint import Footprint, footprint
from edgeadapt_sim.bench.device.networks import NETWORKS, network
from edgeadapt_sim.bench.device.swaps import Apply, Gap, apply_time, swap_gap
from edgeadapt_sim.bench.device.timing import Frames, Laps, frames_for, race, ratios

BARE, BASE, PATCHED, SLOTS, AGENT = ARMS = ("bare", "base", "patched", "slots", "agent")
_YOUNG = 96


class DevicePlan(msgspec.Struct, frozen=True):
    """How much to measure.

    Attributes:
        networks: names of the networks.
        runtimes: names of the engines.
        precisions: "float32" and "int8".
        rounds: rounds in which the arms take turns.
        seconds: of CPU time that the bare runtime takes in a round, about.
        settle_frames: frames that the agent scores before it is timed.
        swaps: sessions that are swapped to see the gap.
        starts: processes of each kind whose start is timed.
        memory_frames: frames before memory is looked at.
    """

    networks: tuple[str, ...] = tuple(found.name for found in NETWORKS)
    runtimes: tuple[str, ...] = ("onnxruntime", "tflite")
    precisions: tuple[str, ...] = ("float32", "int8")
    rounds: int = 21
    seconds: float = 0.5
    settle_frames: int = 300
    swaps: int = 12
    starts: int = 7
    memory_frames: int = 150


QUICK = DevicePlan(
    networks=("resnet8", "mobilenet_v2"),
    rounds=7,
    seconds=0.15,
    settle_frames=200,
    swaps=4,
    starts=3,
    memory_frames=100,
)


class ArmFigures(msgspec.Struct, frozen=True):
    """One arm of a case.

    Attributes:
        arm: "bare", "base", "patched", "slots" or "agent".
        frame_s: CPU seconds of the scoring thread per frame; median over rounds.
        wall_s: the same by the wall.
        ratio: frame_s over that of the bare runtime.
        low: lower quartile of the ratio over rounds.
        high: upper quartile.
        wall_ratio: wall_s over that of the bare runtime.
        all_threads_ratio: CPU time of all threads of the process over the bare runtime's.
    """

    arm: str
    frame_s: float
    wall_s: float
    ratio: float
    low: float
    high: float
    wall_ratio: float
    all_threads_ratio: float


class Case(msgspec.Struct, frozen=True):
    """One model on one engine.

    Attributes:
        network: such as "resnet18".
        side: height and width of a frame.
        runtime: the engine.
        precision: of the artifact.
        frames: frames in a round.
        arms: in the order of `ARMS`.
        young_ratio: the agent's first frames, all of them probed, over the bare runtime.
        apply: what a patch takes.
        gap: what a swap holds up.
        footprint: memory and start.
    """

    network: str
    side: int
    runtime: str
    precision: str
    frames: int
    arms: tuple[ArmFigures, ...]
    young_ratio: float
    apply: Apply
    gap: Gap
    footprint: Footprint

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.network} {self.side}x{self.side}, {self.runtime} {self.precision}"

    def arm(self, name: str) -> ArmFigures:
        """The arm of that name."""
        return next(arm for arm in self.arms if arm.arm == name)


def pieces(plan: DevicePlan) -> list[str]:
    """What `run_study` reports, in order, but for the making of models."""
    return [
        f"{name} {runtime} {precision}"
        for name in plan.networks
        for runtime in plan.runtimes
        for precision in plan.precisions
    ]


def run_study(
    plan: DevicePlan, cache: Path, report: Callable[[str], None], on_done: Callable[[str], None]
) -> tuple[Case, ...]:
    """Measure every case.

    Args:
        plan: what.
        cache: where compiled models are kept from run to run.
        report: told what takes long before the first case of a network.
        on_done: called after each case.

    Raises:
        ConfigError: an unknown network, or its images are not here.
        TransportError: a process that is measured fails.
    """
    cases = []
    for name in plan.networks:
        prepared = prepare(network(name), cache, report)
        for case in _cases(plan, prepared):
            cases.append(case)
            on_done(case.title)
    return tuple(cases)


def _cases(plan: DevicePlan, prepared: Prepared) -> Iterator[Case]:
    bundle, frames = read_folder(prepared.plain), source_of(prepared.network).images
    for artifact in bundle.manifest.artifacts:
        if artifact.runtime in plan.runtimes and artifact.precision in plan.precisions:
            yield measure(plan, prepared, bundle, artifact, frames)


def measure(plan: DevicePlan, prepared: Prepared, bundle: Bundle, artifact: Artifact, frames: Frames) -> Case:
    """Everything there is to know of one artifact."""
    with ExitStack() as stack:
        steps: dict[str, Step] = {BARE: bare(prepared.bare(artifact)), **engine_steps(prepared, artifact)}
        steps[AGENT] = stack.enter_context(agent_step(prepared.plain, artifact))
        for index in range(plan.settle_frames):
            steps[AGENT](frames[index % len(frames)])
        count = frames_for(steps[BARE], frames, plan.seconds)
        laps = race(steps, frames, rounds=plan.rounds, per_round=count)
    return Case(
        network=prepared.network.name,
        side=prepared.network.side,
        runtime=artifact.runtime,
        precision=artifact.precision,
        frames=count,
        arms=tuple(_figures(name, laps[name], laps[BARE]) for name in ARMS),
        young_ratio=_young(prepared, artifact, frames),
        apply=apply_time(bundle, artifact, max(plan.swaps // 2, 2)),
        gap=swap_gap(bundle, artifact, frames, plan.swaps),
        footprint=footprint(prepared, artifact, frames, count=plan.memory_frames, starts=plan.starts),
    )


def _figures(name: str, laps: Laps, base: Laps) -> ArmFigures:
    ratio, low, high = ratios(laps.thread_s, base.thread_s)
    return ArmFigures(
        arm=name,
        frame_s=float(np.median(laps.thread_s)),
        wall_s=float(np.median(laps.wall_s)),
        ratio=ratio,
        low=low,
        high=high,
        wall_ratio=ratios(laps.wall_s, base.wall_s)[0],
        all_threads_ratio=ratios(laps.process_s, base.process_s)[0],
    )


def _young(prepared: Prepared, artifact: Artifact, frames: Frames) -> float:
    """The first frames of a fresh agent beside as many of the bare runtime, in turns."""
    with agent_step(prepared.plain, artifact, young=True) as agent:
        laps = race(
            {BARE: bare(prepared.bare(artifact)), AGENT: agent}, frames, rounds=4, per_round=_YOUNG // 4 - 1
        )
    return ratios(laps[AGENT].thread_s, laps[BARE].thread_s)[0]
