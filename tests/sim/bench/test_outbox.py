"""The study in small: real processes are killed, real files are torn, and nothing is lost."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from edgeadapt_sim.bench.outbox import journal, producer
from edgeadapt_sim.bench.outbox.chaos import run_chaos
from edgeadapt_sim.bench.outbox.count import Books, Stored, tally
from edgeadapt_sim.bench.outbox.output import claims
from edgeadapt_sim.bench.outbox.plan import Chaos, OutboxPlan
from edgeadapt_sim.bench.outbox.power import run_power
from edgeadapt_sim.bench.outbox.proxy import Proxy
from edgeadapt_sim.bench.outbox.study import OutboxStudy
from edgeadapt_sim.cli.outbox import outbox


def test_ten_kills_lose_nothing_and_keep_nothing_twice(tmp_path: Path) -> None:
    done: list[str] = []
    chaos = run_chaos(OutboxPlan(kills=10, seed=7), tmp_path, done.append)
    assert len(done) == sum(chaos.kills.values()) == 10
    assert chaos.committed > 20
    assert chaos.arrived >= chaos.kept
    assert chaos.kept >= chaos.committed - chaos.declined
    assert (chaos.lost, chaos.twice, chaos.left, chaos.unseen) == (0, 0, 0, 0), chaos
    assert chaos.held == chaos.wanted + chaos.declined + chaos.unasked
    assert chaos.wanted > 0
    assert chaos.declined > 0
    assert chaos.holds
    stored = [words for words in journal.read(tmp_path / producer.JOURNAL_NAME) if words[0] == "stored"]
    assert len(stored) == chaos.committed


@pytest.mark.parametrize("durability", ["normal", "full"])
def test_power_cuts_lose_nothing_durable(tmp_path: Path, durability: str) -> None:
    plan = OutboxPlan(cuts=12)
    found = run_power(plan, "full" if durability == "full" else "normal", tmp_path, lambda text: None)
    assert found.opened == found.cuts == 12
    assert 0 < found.torn < 12
    assert (found.lost_durable, found.reused) == (0, 0)
    assert (found.most_lost > 0) is (durability == "normal"), (
        "a torn WAL costs something, or nothing was torn"
    )


def test_the_command_times_and_writes(tmp_path: Path) -> None:
    words = ["--chaos", "0", "--rounds", "1", "--rows", "30", "--cuts", "2", "--out", str(tmp_path)]
    done = CliRunner().invoke(outbox, words)
    assert done.exit_code == 0, done.output
    assert "holds: after kill -9 every stored message is known" in done.output
    study = json.loads((tmp_path / "outbox.json").read_text())["study"]
    assert [speed["recovered"] for speed in study["speeds"]] == [30, 30, 30]
    assert (tmp_path / "outbox.png").stat().st_size > 1000
    assert "Power cuts" in (tmp_path / "outbox.md").read_text()


def test_a_loss_or_a_double_is_no_claim_that_holds() -> None:
    good = Chaos({"device": 1}, {}, "mosquitto", 1.0, 10, 12, 12, 10, 0, 0, 0, 1.0)
    for change in ({"lost": 1}, {"twice": 1}, {"left": 1}, {"unseen": 1}):
        (claim,) = claims(OutboxStudy((), (), replace(good, **change)))
        assert not claim.holds
    assert claims(OutboxStudy((), (), good))[0].holds


def test_held_samples_are_counted_by_what_the_server_said() -> None:
    """Of five that were held: one came as wanted, one was declined, three are wrong in ways of their own."""
    like, other = np.eye(2, 64, dtype=np.float32)
    stored = {("o", n): Stored(f"{n}", vector) for n, vector in enumerate((like, like, like, other, like))}
    books = Books(
        stored={**stored, ("o", 5): Stored("-", None), ("o", 6): Stored("6", None)},
        published=9,
        arrived=9,
        # 4 is there as another picture, 6 is not held and not there.
        kept=((("o", 0), "0"), (("o", 4), "0"), (("o", 5), None)),
        wanted=frozenset({("o", 0)}),
        # 2 was never declined, and 3 is like nothing that is there.
        declined=frozenset({("o", 1), ("o", 3), ("o", 6)}),
        left=0,
    )
    found = tally(books)
    assert (found.committed, found.held, found.wanted, found.declined, found.unasked) == (7, 5, 1, 2, 1)
    assert (found.lost, found.unseen, found.twice) == (3, 1, 1)


class Echo:
    """A server that sends back what it gets."""

    def __enter__(self) -> int:
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        port: int = self._socket.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(link,), daemon=True).start()

    def _echo(self, link: socket.socket) -> None:
        with link:
            while data := link.recv(4096):
                link.sendall(data)


def test_the_proxy_passes_on_swallows_and_cuts() -> None:
    with Echo() as port, Proxy(port) as proxy:
        link = socket.create_connection(("127.0.0.1", proxy.port), timeout=10.0)
        link.sendall(b"one")
        assert link.recv(10) == b"one"
        proxy.set_mode("hole")
        link.sendall(b"two")
        link.settimeout(0.3)
        with pytest.raises(TimeoutError):
            link.recv(10)
        proxy.set_mode("open")
        link.settimeout(10.0)
        assert link.recv(10) == b"two"
        proxy.set_mode("cut")
        assert _ended(link)
        link.close()


def _ended(link: socket.socket) -> bool:
    """The other side has closed, in order or not."""
    try:
        return link.recv(10) == b""
    except ConnectionError:
        return True
