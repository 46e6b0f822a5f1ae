"""The whole study: how fast, how safe against power cuts, and what a chaos run loses."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from edgeadapt_sim.bench.outbox.chaos import run_chaos
from edgeadapt_sim.bench.outbox.plan import Chaos, Durability, OutboxPlan, PowerCut, Speed
from edgeadapt_sim.bench.outbox.power import run_power
from edgeadapt_sim.bench.outbox.speed import KINDS, run_speed

_DURABILITIES: tuple[Durability, ...] = ("normal", "full")


class OutboxStudy(msgspec.Struct, frozen=True):
    """What was found; `chaos` is None where no kill was asked for."""

    speeds: tuple[Speed, ...]
    power: tuple[PowerCut, ...]
    chaos: Chaos | None


def pieces(plan: OutboxPlan) -> int:
    """How often `run_study` says that something is done."""
    return plan.rounds * len(KINDS) + plan.cuts * len(_DURABILITIES) + plan.kills


def run_study(plan: OutboxPlan, on_done: Callable[[str], None]) -> OutboxStudy:
    """Run all of it in a folder that is removed afterwards.

    Raises:
        TransportError: a process failed, or there is no broker on this machine.
    """
    with tempfile.TemporaryDirectory(prefix="edgeadapt-outbox-") as name:
        folder = Path(name)
        speeds = run_speed(plan, folder / "speed", on_done) if plan.rounds else ()
        cuts = _DURABILITIES if plan.cuts else ()
        power = tuple(run_power(plan, durability, folder / "power", on_done) for durability in cuts)
        chaos = run_chaos(plan, folder / "chaos", on_done) if plan.kills else None
    return OutboxStudy(speeds, power, chaos)
