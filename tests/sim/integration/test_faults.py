"""The loop as real processes on loopback, and what it survives: `kill -9` of every part."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from edgeadapt_models.data import Segment
from edgeadapt_sim.broker import Broker
from edgeadapt_sim.demo.plan import DemoPlan
from edgeadapt_sim.demo.setup import Prepared
from edgeadapt_sim.processes import Children
from tests.sim.integration.field import Field, connect, lay_out

pytestmark = pytest.mark.integration

# One domain in which adaptation is known to help; far longer than any test plays.
SEGMENTS = (Segment("contrast:5", 12_000),)
SOME_SAMPLES = 60


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoPlan, Prepared]:
    return lay_out(tmp_path_factory.mktemp("field"), SEGMENTS)


@pytest.fixture
def field(laid_out: tuple[DemoPlan, Prepared]) -> Iterator[Field]:
    plan, prepared = laid_out
    for stale in ("state", "logs"):
        shutil.rmtree(prepared.out / stale, ignore_errors=True)
    with Broker.start(log_dir=prepared.logs) as broker, Children() as children:
        connect(plan, prepared, broker)
        yield Field(prepared, broker, children)


def test_loop_confirms_a_patch_and_a_killed_device_resumes_where_it_was(field: Field) -> None:
    field.start_cloud()
    devices = {name: field.start_device(name) for name in field.names}

    field.wait("a device keeps a patch", lambda: any(_keeps_a_patch(field, name) for name in field.names))
    name = next(name for name in field.names if _keeps_a_patch(field, name))
    before = field.status(name)
    assert before is not None

    field.kill(devices[name])
    first_run = field.outbox(name)[1] | set(field.arrived(name))
    assert first_run == set(range(1, max(first_run) + 1))  # nothing was lost before the kill
    again = field.start_device(name)
    field.wait("it is back", lambda: (now := field.status(name)) is not None and now.pid == again.pid)
    after = field.status(name)
    assert after is not None
    assert after.generation == before.generation
    field.wait("all of its first run arrived", lambda: first_run <= set(field.arrived(name)))
    arrived = field.arrived(name)
    assert len(arrived) == len(set(arrived))
    frames = [int(line.split(",")[0]) for line in _predictions(field, name)]
    assert frames == list(range(len(frames)))  # no frame skipped, none scored twice


def test_a_killed_broker_comes_back_and_nothing_is_lost(field: Field) -> None:
    field.start_cloud()
    devices = {name: field.start_device(name) for name in field.names}
    field.wait("samples arrive", lambda: field.samples() >= SOME_SAMPLES)
    field.broker.kill()
    field.wait("every device notices", lambda: not any(_connected(field, name) for name in field.names))
    scored = {name: _frames(field, name) for name in field.names}
    field.wait("they go on scoring", lambda: all(_frames(field, n) > scored[n] + 60 for n in field.names))
    held = {name: field.outbox(name)[1] for name in field.names}
    assert any(held.values())  # what was flagged meanwhile is kept
    field.broker.resume()
    field.wait("what was held arrives", lambda: _all_arrived(field, held))
    more = field.samples()
    field.wait("new samples arrive", lambda: field.samples() > more)
    assert all(child.alive for child in devices.values())
    _assert_whole(field)


def test_a_killed_cloud_comes_back_and_nothing_is_lost(field: Field) -> None:
    cloud = field.start_cloud()
    devices = {name: field.start_device(name) for name in field.names}
    field.wait("samples arrive", lambda: field.samples() >= SOME_SAMPLES)
    field.kill(cloud)
    committed = field.samples()
    field.wait("samples pile up", lambda: sum(len(field.outbox(name)[1]) for name in field.names) >= 20)
    held = {name: field.outbox(name)[1] for name in field.names}
    assert field.samples() == committed
    field.start_cloud()
    field.wait("what was held arrives", lambda: _all_arrived(field, held))
    assert field.samples() > committed
    assert all(child.alive for child in devices.values())
    _assert_whole(field)


def _keeps_a_patch(field: Field, name: str) -> bool:
    """The device runs a patch with tensors that the service published and saw confirmed."""
    status, report = field.status(name), field.report()
    if status is None or report is None or not status.generation:
        return False
    return any(
        patch.digest.startswith(status.generation) and patch.outcomes.get("confirmed", 0) > 0
        for patch in report.patches
    )


def _connected(field: Field, name: str) -> bool:
    status = field.status(name)
    return status is None or status.connected


def _frames(field: Field, name: str) -> int:
    status = field.status(name)
    return status.frames if status is not None else 0


def _predictions(field: Field, name: str) -> list[str]:
    paths = next(paths for paths in field.prepared.devices if paths.name == name)
    text = paths.predictions.read_text()
    return text[: text.rfind("\n")].splitlines()[1:]


def _all_arrived(field: Field, held: dict[str, set[int]]) -> bool:
    return all(sequences <= set(field.arrived(name)) for name, sequences in held.items())


def _assert_whole(field: Field) -> None:
    """Each device's messages are 1, 2, 3 ...: none is missing between the database and the outbox."""
    for name in field.names:
        _, held = field.outbox(name)
        arrived = field.arrived(name)
        assert len(arrived) == len(set(arrived))
        everything = set(arrived) | held
        assert everything >= set(range(1, max(arrived) + 1))
