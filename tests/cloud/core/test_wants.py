"""A fleet that sees the same thing sends it once: descriptors in, what is wanted out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from rich.console import Console

from edgeadapt.clock import Instant
from edgeadapt.descriptor import SIZE
from edgeadapt.digest import sha256_hex
from edgeadapt.wire import Ack, DescriptorItem, Descriptors, Lane, Want, decode, encode
from edgeadapt.wire.topics import up
from edgeadapt_cloud.config import JobConfig, WantsConfig
from edgeadapt_cloud.core.fleet.wants import MOST_SEEN, MOST_WAITING
from edgeadapt_cloud.io.report import read_report
from edgeadapt_cloud.io.store import DATABASE_NAME, SqliteStore
from edgeadapt_cloud.io.unknown import read_unknown
from edgeadapt_cloud.local import LocalCloud
from edgeadapt_cloud.status import render
from tests.cloud.fleet import BUNDLE, FLEET, FOG, NOISE, DeviceDouble, FixedAdapter, at, config, feed, local


def vector(seed: int, turned: float = 0.0) -> bytes:
    """A random direction; `turned` towards another one."""
    rng = np.random.default_rng(seed)
    one, other = rng.normal(size=(2, SIZE))
    values = one + turned * other
    return bytes(np.rint(values * (127 / np.abs(values).max())).astype(np.int8))


def item(sample: int, seed: int, *, lane: Lane = "ask", turned: float = 0.0) -> DescriptorItem:
    return DescriptorItem(
        sample=sample,
        lane=lane,
        verdict="unknown",
        predicted=1,
        entropy=0.5,
        p_value=0.01,
        size_bytes=9000,
        members=7,
        vector=vector(seed, turned),
    )


class Told(NamedTuple):
    """What a service said to one device."""

    wanted: set[int]
    declined: set[int]
    acked: set[int]


def told(cloud: LocalCloud) -> dict[str, Told]:
    """Everything since the last call, by device."""
    found: dict[str, Told] = {}
    for topic, payload, retain in cloud.outgoing():
        message = decode(payload)
        said = found.setdefault(topic.split("/")[3], Told(set(), set(), set()))
        if isinstance(message, Want):
            assert not retain
            said.wanted.update(message.wanted)
            said.declined.update(message.declined)
        elif isinstance(message, Ack):
            said.acked.update(message.sequences)
    return found


def announce(cloud: LocalCloud, device: DeviceDouble, now: Instant, *items: DescriptorItem) -> Told:
    """A device says what it could send; what it is answered."""
    device.sequence += 1
    message = Descriptors(
        outbox=device.outbox,
        sequence=device.sequence,
        bundle=BUNDLE.digest,
        segment=1,
        generation="base",
        items=items,
    )
    told(cloud)
    cloud.deliver(up(FLEET, device.name, "descriptor"), encode(message), now)
    return told(cloud)[device.name]


def send(cloud: LocalCloud, device: DeviceDouble, sample: int, now: Instant, **changes: Any) -> None:
    """A wanted sample arrives."""
    topic, payload = device.sample(lane="ask", **changes)
    message = decode(payload)
    cloud.deliver(topic, encode(msgspec.structs.replace(message, sequence=sample)), now)


ONE, TWO, THREE = "one", "two", "three"


@pytest.fixture
def cloud() -> LocalCloud:
    return local(settings=config(wants=WantsConfig(patience_s=100.0)))


def devices() -> tuple[DeviceDouble, DeviceDouble, DeviceDouble]:
    return tuple(DeviceDouble(name, outbox=f"box-{name}") for name in (ONE, TWO, THREE))  # type: ignore[return-value]


def test_what_three_devices_see_is_wanted_of_one_and_declined_by_the_others_once_it_is_here(
    cloud: LocalCloud,
) -> None:
    one, two, three = devices()
    assert announce(cloud, one, at(1), item(50, 1)) == Told({50}, set(), {1})
    assert announce(cloud, two, at(2), item(60, 1, turned=0.3)) == Told(set(), set(), {1}), "a substitute"
    send(cloud, one, 50, at(3))
    assert told(cloud) == {ONE: Told(set(), set(), {50}), TWO: Told(set(), {60}, set())}
    assert announce(cloud, three, at(4), item(70, 1, turned=0.2)).declined == {70}
    assert announce(cloud, three, at(5), item(71, 2)).wanted == {71}, "another thing"


def test_a_wanted_sample_that_never_comes_frees_its_place(cloud: LocalCloud) -> None:
    one, two, _ = devices()
    announce(cloud, one, at(1), item(50, 1))
    announce(cloud, two, at(2), item(60, 1))
    cloud.tick(at(100))
    assert told(cloud) == {}
    assert cloud.core.next_deadline() == 101.0
    cloud.tick(at(101.5))
    assert told(cloud) == {TWO: Told({60}, set(), set())}
    send(cloud, two, 60, at(103))
    send(cloud, one, 50, at(104))  # late: it is kept all the same
    assert told(cloud)[ONE].acked == {50}
    assert announce(cloud, one, at(105), item(51, 1)).declined == {51}


def test_a_sample_that_cannot_be_taken_in_frees_its_place_at_once(cloud: LocalCloud) -> None:
    one, two, _ = devices()
    announce(cloud, one, at(1), item(50, 1))
    announce(cloud, two, at(2), item(60, 1))
    send(cloud, one, 50, at(3), sha256="0" * 64)
    assert told(cloud)[TWO].wanted == {60}


def test_asked_again_it_says_the_same_also_after_a_restart(tmp_path: Path) -> None:
    cloud = local(folder=tmp_path, settings=config(wants=WantsConfig(patience_s=100.0)))
    one, two, three = devices()
    announce(cloud, one, at(1), item(50, 1), item(51, 2))
    announce(cloud, two, at(2), item(60, 1))
    send(cloud, one, 51, at(3))
    for moment in (4, 5):
        assert announce(cloud, one, at(moment), item(50, 1), item(51, 2)) == Told({50}, {51}, {one.sequence})
        assert announce(cloud, two, at(moment), item(60, 1)).wanted == set()
        assert announce(cloud, three, at(moment), item(70, 2)).declined == {70}
        cloud.restart(at(moment))
    cloud.tick(at(106))
    assert told(cloud) == {TWO: Told({60}, set(), set())}, "the wait begins anew with the service"


def test_the_same_message_again_is_answered_again(cloud: LocalCloud) -> None:
    (one, _, _) = devices()
    announce(cloud, one, at(1), item(50, 1))
    one.sequence -= 1
    assert announce(cloud, one, at(2), item(50, 1)) == Told({50}, set(), {1})
    assert cloud.core.counters["duplicates"] == 1


def test_several_copies_may_be_wanted() -> None:
    cloud = local(settings=config(wants=WantsConfig(copies=2)))
    one, two, three = devices()
    assert announce(cloud, one, at(1), item(50, 1)).wanted == {50}
    assert announce(cloud, two, at(1), item(60, 1)).wanted == {60}
    assert announce(cloud, three, at(1), item(70, 1)).wanted == set()
    send(cloud, one, 50, at(2))
    assert THREE not in told(cloud)
    send(cloud, two, 60, at(2))
    assert told(cloud)[THREE].declined == {70}


def test_samples_to_learn_from_are_compared_within_their_cohort_only(cloud: LocalCloud) -> None:
    one, two, _ = devices()
    cloud.deliver(*one.signature(FOG), at(1))
    cloud.deliver(*two.signature(NOISE), at(1))
    assert announce(cloud, one, at(2), item(50, 1, lane="adapt")).wanted == {50}
    assert announce(cloud, two, at(2), item(60, 1, lane="adapt")).wanted == {60}
    assert announce(cloud, one, at(2), item(51, 1, lane="adapt")).wanted == set()


def test_an_audit_is_never_chosen(cloud: LocalCloud) -> None:
    (one, two, _) = devices()
    for device, sample in ((one, 50), (two, 60)):
        assert announce(cloud, device, at(1), item(sample, 1, lane="audit")).wanted == {sample}


def test_beyond_its_bound_it_forgets_what_was_not_seen_longest(tmp_path: Path) -> None:
    cloud = local(folder=tmp_path, settings=config(wants=WantsConfig(kept=3)))
    (one, two, _) = devices()
    for number in range(3):
        announce(cloud, one, at(1), item(50 + number, number))
    announce(cloud, two, at(2), item(60, 0))  # seen again
    announce(cloud, one, at(3), item(53, 3))
    assert announce(cloud, two, at(4), item(62, 2), item(60, 0)).wanted == set()
    assert announce(cloud, two, at(4), item(61, 1)).wanted == {61}, "thing 1 is forgotten, and new"
    assert len({row.thing for row in cloud.store.snapshot().wants}) == 3


def test_who_else_saw_a_thing_is_remembered_so_far_and_no_further(cloud: LocalCloud) -> None:
    """Of samples to learn from it is not: nobody asks."""
    (one, *_) = devices()
    announce(cloud, one, at(1), item(50, 1))
    send(cloud, one, 50, at(2))
    for number in range(MOST_SEEN + 5):
        other = DeviceDouble(f"other-{number}")
        assert announce(cloud, other, at(3), item(60, 1)).declined == {60}
    rows = cloud.store.snapshot().wants
    assert [row.state for row in rows] == ["received"] + ["declined"] * (MOST_SEEN - 1)
    assert announce(cloud, one, at(4), item(51, 1, lane="adapt")).wanted == {51}
    for number in range(MOST_SEEN):
        announce(cloud, DeviceDouble(f"other-{number}", sequence=9), at(5), item(70, 1, lane="adapt"))
    assert sum(row.lane == "adapt" for row in cloud.store.snapshot().wants) <= 1 + MOST_WAITING


def test_questions_without_a_picture_wait_for_a_person_too_and_fill_no_memory(tmp_path: Path) -> None:
    """A fleet that sends embeddings alone: the picture stays wanted, and every question is told of."""
    cloud = local(folder=tmp_path)
    names = [f"cam-{number}" for number in range(MOST_SEEN + 8)]

    def blind(name: str, now: Instant) -> None:
        assert announce(cloud, DeviceDouble(name), now, item(60, 1)).wanted == {60}
        nothing = {"codec": "none", "data": b"", "sha256": sha256_hex(b""), "descriptor": b"12"}
        send(cloud, DeviceDouble(name), 60, now, **nothing)

    for second, name in enumerate(names):
        blind(name, at(second + 1))
    for restarted in (False, True):
        if restarted:
            cloud.restart(at(100))
        (thing,) = cloud.core.wants._things.values()
        assert len(thing.claims) == len(cloud.core.wants._of) == MOST_SEEN
        report = read_report(tmp_path)
        assert (report.questions, report.questions_coming) == (1, 0)
        (seen,) = read_unknown(tmp_path)
        assert (seen.devices, seen.frames, seen.picture) == (len(names), 7 * len(names), "embedding")
        assert {one.state for one in seen.sightings} == {"embedding"}
    assert announce(cloud, DeviceDouble("eye"), at(101), item(60, 1)).wanted == {60}
    report = read_report(tmp_path)
    assert (report.questions, report.questions_coming) == (1, 0), "the same thing, not one more"
    cloud.close()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"items": ()}, "wrong-size"),
        ({"items": (item(1, 1),) * 257}, "wrong-size"),
        ({"bundle": "f" * 64}, "foreign-bundle"),
        ({"items": (msgspec.structs.replace(item(1, 1), vector=b"short"),)}, "out-of-range"),
        ({"items": (msgspec.structs.replace(item(1, 1), sample=-1),)}, "out-of-range"),
        ({"items": (msgspec.structs.replace(item(1, 1), sample=1 << 63),)}, "out-of-range"),
        ({"items": (msgspec.structs.replace(item(1, 1), p_value=1.5),)}, "out-of-range"),
        ({"items": (msgspec.structs.replace(item(1, 1), predicted=99),)}, "out-of-range"),
        ({"items": (msgspec.structs.replace(item(1, 1), entropy=-1.0),)}, "out-of-range"),
    ],
)
def test_descriptors_that_cannot_be_are_acknowledged_and_counted(
    cloud: LocalCloud, changes: dict[str, object], reason: str
) -> None:
    good = Descriptors(
        outbox="box", sequence=1, bundle=BUNDLE.digest, segment=1, generation="base", items=(item(1, 1),)
    )
    message = msgspec.structs.replace(good, **changes)
    cloud.deliver(up(FLEET, ONE, "descriptor"), encode(message), at(1))
    assert told(cloud) == {ONE: Told(set(), set(), {1})}
    assert cloud.core.counters[f"quarantined.{reason}"] == 1


def test_a_descriptor_of_zeros_is_alike_to_nothing(cloud: LocalCloud) -> None:
    one, two, _ = devices()
    blank = msgspec.structs.replace(item(50, 1), vector=bytes(SIZE))
    assert announce(cloud, one, at(1), blank).wanted == {50}
    assert announce(cloud, two, at(1), msgspec.structs.replace(blank, sample=60)).wanted == {60}


def test_questions_wait_for_a_person_and_never_reach_a_job(tmp_path: Path) -> None:
    adapter = FixedAdapter()
    settings = config(jobs=JobConfig(min_new=4))
    cloud = local(adapter, tmp_path, settings)
    one, two, _ = devices()
    cloud.deliver(*one.signature(), at(1))
    announce(cloud, one, at(2), item(50, 1), item(51, 2), item(52, 3))
    for sample in (50, 51):
        send(cloud, one, sample, at(3))
    for _ in range(6):
        two.sequence += 1
        send(cloud, one, 100 + two.sequence, at(3))  # without having been announced
    assert not adapter.requests
    cloud.restart(at(4))
    feed(cloud, one, 4, at(5))
    assert [len(request.sample_ids) for request in adapter.requests] == [4]
    assert set(adapter.lanes[0]) == {"adapt"}
    cloud.close()
    report = read_report(tmp_path)
    assert (report.questions, report.questions_coming) == (2 + 6, 1)
    console = Console(record=True, width=100)
    render(report, console)
    assert "unknown things that wait for a person: 8, 1 more on their way" in console.export_text()


def test_a_database_of_version_1_becomes_one_of_now_in_place(tmp_path: Path) -> None:
    path = tmp_path / DATABASE_NAME
    shutil.copy(Path(__file__).parent.parent / "io" / "cloud-v1.sqlite", path)
    store = SqliteStore(path)
    saved = store.snapshot()
    assert [(sample.device, sample.lane) for sample in saved.samples] == [("one", "adapt"), ("one", "audit")]
    assert [row.cohort for row in saved.cohorts] == ["c-1"]
    assert saved.wants == ()
    store.close()
    cloud = local(folder=tmp_path)
    (one, _, _) = devices()
    assert announce(cloud, one, at(1), item(50, 1)).wanted == {50}
    cloud.close()
    again = SqliteStore(path)
    assert [row.key for row in again.snapshot().wants] == [(ONE, "box-one", 50)]
    again.close()
