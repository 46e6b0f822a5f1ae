"""Kill everything at random, many times, and count what is left: a device, a broker, a server, a bad link.

Three real processes: the device (`producer`), the broker (Mosquitto, or iotcore where there is none) and the
server (`server`). The device reaches the broker through a proxy that cuts, throttles and swallows. What is
killed, when, and what the link does are drawn from one seed; how far each process has come by then is not, so
two runs tell the same story with other figures. A killed broker has forgotten what it had acknowledged since
its last save: it lies, as brokers do.

Two of three samples are held until the server wants them (descriptor -> want -> sample). At the end all is
left alone until the device's outbox is empty. Then the device's journal of what it had made durable is
compared with the server's database, by sequence and by content (`count`).
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from edgeadapt.errors import TransportError
from edgeadapt_models.compile.tiny import tiny_bundle
from edgeadapt_sim.bench.outbox import journal, producer, server
from edgeadapt_sim.bench.outbox.count import left_in, read_books, tally
from edgeadapt_sim.bench.outbox.plan import Chaos, OutboxPlan
from edgeadapt_sim.bench.outbox.proxy import Mode, Proxy
from edgeadapt_sim.broker import Broker
from edgeadapt_sim.processes import Child, Children

Victim = Literal["device", "broker", "server"]
_VICTIMS: tuple[Victim, ...] = ("device", "broker", "server")
_LINKS: tuple[Mode, ...] = ("cut", "throttle", "hole")
# Seconds between two kills, and that a victim stays down.
_PAUSE_S, _DOWN_S = (0.3, 1.5), (0.0, 0.6)
_LINK_SHARE = 0.4
_DRAIN_S = 180.0
_ONE_THREAD = {"OMP_NUM_THREADS": "1"}


class Arena:
    """The processes of one run, in one folder."""

    def __init__(
        self, folder: Path, plan: OutboxPlan, children: Children, broker: Broker, link: Proxy
    ) -> None:
        self._folder, self._plan, self._children = folder, plan, children
        self._broker, self.link = broker, link
        self._starts = 0
        self._running: dict[Victim, Child] = {}
        self.start("server")
        self.start("device")

    def start(self, name: Victim) -> None:
        """Start what was killed."""
        if name == "broker":
            self._broker.resume()
            return
        where = [str(self._folder), str(self._broker.port)]
        if name == "device":
            self._starts += 1
            plan = msgspec.json.encode(self._plan).decode()
            where = [str(self._folder), str(self.link.port), str(self._starts), plan]
        module = (producer if name == "device" else server).__name__
        command = [sys.executable, "-m", module, *where]
        log = self._folder / f"{name}.log"
        self._running[name] = self._children.start(name, command, log=log, env=_ONE_THREAD)

    def kill(self, name: Victim) -> None:
        """SIGKILL; raises TransportError when the process had ended by itself."""
        if name == "broker":
            self._broker.kill()
            return
        child = self._running[name]
        if not child.alive:
            raise TransportError(f"the {name} ended by itself:\n{child.tail()}")
        child.kill()

    def settle(self) -> float:
        """Make no more samples, and wait until all are delivered; returns the seconds that it took."""
        began = time.monotonic()
        self.link.set_mode("open")
        (self._folder / producer.STOP_NAME).touch()
        while time.monotonic() - began < _DRAIN_S and (self._device_is_new() or left_in(self._folder)):
            time.sleep(0.2)
        seconds = time.monotonic() - began
        for child in self._running.values():
            child.stop()
        return seconds

    def _device_is_new(self) -> bool:
        """Its last start has not come so far as to open the outbox."""
        opened = sum(words[0] == "open" for words in journal.read(self._folder / producer.JOURNAL_NAME))
        return opened < 1 or not self._running["device"].alive


def run_chaos(plan: OutboxPlan, folder: Path, on_done: Callable[[str], None]) -> Chaos:
    """One run in an empty folder.

    Raises:
        TransportError: a process ended by itself, or there is no broker on this machine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tiny_bundle(folder / producer.BUNDLE_NAME)
    rng, kills, links = np.random.default_rng(plan.seed), Counter[str](), Counter[str]()
    began = time.monotonic()
    with (
        Children() as children,
        Broker.start(log_dir=folder / "broker") as broker,
        Proxy(broker.port) as link,
    ):
        arena = Arena(folder, plan, children, broker, link)
        _wait_for_first(folder)
        for number in range(plan.kills):
            victim = _VICTIMS[int(rng.integers(len(_VICTIMS)))]
            mode: Mode = _LINKS[int(rng.integers(len(_LINKS)))] if rng.random() < _LINK_SHARE else "open"
            pause_s, down_s = rng.uniform(*_PAUSE_S), rng.uniform(*_DOWN_S)
            link.set_mode(mode)
            links[mode] += mode != "open"
            time.sleep(pause_s)
            arena.kill(victim)
            kills[victim] += 1
            time.sleep(down_s)
            arena.start(victim)
            on_done(f"{number + 1} {victim} killed, link {mode}")
        drained_s = arena.settle()
        kind = broker.kind
    return _count(folder, kills, links, kind, time.monotonic() - began, drained_s)


def _wait_for_first(folder: Path) -> None:
    """The run begins when a first message has come through."""
    deadline_s = time.monotonic() + 60.0
    while not journal.read(folder / server.JOURNAL_NAME):
        if time.monotonic() > deadline_s:
            logs = "\n".join(path.read_text(errors="replace")[-800:] for path in folder.glob("*.log"))
            raise TransportError(f"no message came through within a minute:\n{logs}")
        time.sleep(0.05)


def _count(
    folder: Path, kills: Counter[str], links: Counter[str], broker: str, seconds: float, drained_s: float
) -> Chaos:
    books = read_books(folder)
    found = tally(books)
    return Chaos(
        kills=dict(kills),
        links={mode: count for mode, count in links.items() if count},
        broker=broker,
        seconds=seconds,
        committed=found.committed,
        published=books.published,
        arrived=books.arrived,
        kept=len(books.kept),
        lost=found.lost,
        twice=found.twice,
        left=books.left,
        drained_s=drained_s,
        held=found.held,
        wanted=found.wanted,
        declined=found.declined,
        unasked=found.unasked,
        unseen=found.unseen,
    )
