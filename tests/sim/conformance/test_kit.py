"""A small device that does everything right passes; each of six that get one thing wrong fails for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from edgeadapt.errors import ConfigError
from edgeadapt.wire import ServerStatus, encode
from edgeadapt.wire.topics import cloud_status
from edgeadapt_sim.broker import Broker
from edgeadapt_sim.cli.conformance import command
from edgeadapt_sim.conformance.access import Access
from edgeadapt_sim.conformance.clause import Patience, Shown, Trial
from edgeadapt_sim.conformance.run import CLAUSES, fails, run
from edgeadapt_sim.conformance.stand import Stand
from tests.cloud.fleet import KEY, TRUSTED
from tests.core.bundles import bundle as toy_bundle
from tests.sim.conformance.small import FLEET, NAME, SmallDevice

pytestmark = pytest.mark.integration
BUNDLE = toy_bundle()
PATIENCE = Patience(answer_s=5.0, resend_s=5.0, quiet_s=1.5, sample_s=2.0)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker.start(log_dir=tmp_path_factory.mktemp("broker")) as running:
        yield running


def verdicts(broker: Broker, *only: str, **wrong: Any) -> dict[str, Shown]:
    """What the kit says of a small device."""
    device = SmallDevice(broker.port, BUNDLE, TRUSTED, **wrong)
    try:
        with Stand(Access(port=broker.port), FLEET, NAME) as stand:
            results = run(Trial(stand, PATIENCE, bundle=BUNDLE, key=KEY), only=only)
    finally:
        device.close()
    return {result.name: result for result in results}


def test_a_device_that_does_it_right_passes(broker: Broker) -> None:
    found = verdicts(broker)
    assert list(found) == [clause.name for clause in CLAUSES]
    failures = {name: result.detail for name, result in found.items() if result.state == "fail"}
    assert not failures
    unseen = {name for name, result in found.items() if result.state == "not shown"}
    assert unseen == {"sample.sound", "want.obeyed", "epoch.rises"}, "it has no model, and nobody restarts it"


@pytest.mark.parametrize(
    ("wrong", "clause", "words"),
    [
        ("reuses_sequences", "delivery.sequences", "came with other bytes"),
        ("ignores_acks", "delivery.acked", "after it was acknowledged"),
        ("believes_anyone", "patch.unsigned", "it was not refused: trial"),
        ("takes_old", "rollback.serial", "the older serial came again, and was taken: trial"),
        ("forgets_rollbacks", "rollback.command", "not answered 'reverted': trial"),
        ("stays_patched", "rollback.command", "says that it went back, and runs"),
    ],
)
def test_what_a_device_gets_wrong_is_found(broker: Broker, wrong: str, clause: str, words: str) -> None:
    others = ("order.answered", "order.once", "delivery.sequences")
    found = verdicts(broker, clause, *others, **{wrong: True})
    assert [name for name, result in found.items() if result.state == "fail"] == [clause]
    assert words in found[clause].detail
    assert fails(tuple(found.values()))


def test_a_device_that_is_not_there_fails(broker: Broker) -> None:
    with Stand(Access(port=broker.port), FLEET, "nobody") as stand:
        quick = Patience(0.3, 0.3, 0.1, 0.1)
        found = {r.name: r for r in run(Trial(stand, quick), only=("order.answered",))}
    assert found["birth.retained"].state == found["order.answered"].state == "fail"


def test_a_service_that_runs_is_in_the_way(broker: Broker) -> None:
    with Stand(Access(port=broker.port), "served", NAME) as other:
        other.send(cloud_status("served"), encode(ServerStatus(epoch=1, online=True)), retain=True)
        with pytest.raises(ConfigError, match="stop it"):
            Stand(Access(port=broker.port), "served", NAME).__enter__()


def test_the_command_prints_a_table_and_an_exit_code(broker: Broker, tmp_path: Path) -> None:
    words = ["--broker", f"127.0.0.1:{broker.port}", "--fleet", FLEET, "--device", NAME]
    words += ["--answer-s", "3", "--only", "order.answered"]
    device = SmallDevice(broker.port, BUNDLE, TRUSTED)
    good = CliRunner().invoke(command, words)
    as_json = CliRunner().invoke(command, [*words, "--json"])
    device.close()
    assert good.exit_code == 0, good.output
    assert "3 pass, 0 fail, 0 not shown" in good.output
    assert {entry["state"] for entry in msgspec.json.decode(as_json.output)} == {"pass"}
    gone = CliRunner().invoke(command, [*words, "--answer-s", "0.3"])
    assert gone.exit_code == 1
    unknown = CliRunner().invoke(command, [*words, "--only", "nothing"])
    assert "unknown clause 'nothing'" in str(unknown.exception)


def test_clauses_have_names_of_their_own_and_a_manual() -> None:
    assert len({clause.name for clause in CLAUSES}) == len(CLAUSES)
    manual = (Path(__file__).parents[3] / "docs" / "conformance.md").read_text()
    for clause in CLAUSES:
        assert f"`{clause.name}`" in manual, clause.name
