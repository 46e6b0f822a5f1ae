"""Acknowledgements, duplicates, order of arrival, and who is told what."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeadapt_cloud.config import CloudSection
from edgeadapt_cloud.core.acks import BATCH
from tests.cloud.fleet import FLEET, FOG, NOISE, DeviceDouble, FixedAdapter, at, config, feed, local, sent


def test_duplicates_are_acknowledged_and_stored_once() -> None:
    adapter = FixedAdapter()
    cloud, device = local(adapter), DeviceDouble("one")
    message = device.sample()
    for _ in range(3):
        cloud.deliver(*message, at(1))
        assert sent(cloud).acks == {"one": {1}}
    assert len(cloud.store.snapshot().samples) == 1
    assert cloud.core.counters["duplicates"] == 2


def test_same_sequence_of_another_outbox_or_device_is_another_message() -> None:
    cloud = local()
    for device in (DeviceDouble("one"), DeviceDouble("one", outbox="new"), DeviceDouble("two")):
        cloud.deliver(*device.sample(), at(1))
    assert len(cloud.store.snapshot().samples) == 3


def test_acknowledgements_wait_for_their_delay_and_go_in_one_message() -> None:
    cloud = local(settings=config(cloud=CloudSection(fleet=FLEET, ack_delay_s=0.5)))
    device = DeviceDouble("one")
    feed(cloud, device, 5, at(1))
    assert cloud.core.next_deadline() == 1.5
    cloud.tick(at(1.4))
    assert not cloud.outgoing()
    cloud.tick(at(1.5))
    assert len(cloud.outgoing()) == 1
    assert cloud.core.next_deadline() is None


def test_full_batch_of_acknowledgements_goes_at_once() -> None:
    cloud = local(settings=config(cloud=CloudSection(fleet=FLEET, ack_delay_s=60.0)))
    device = DeviceDouble("one")
    # The same picture again and again: cheap, and every message has its own sequence.
    cloud.deliver_many([device.sample(seed=1) for _ in range(BATCH)], at(1))
    assert sent(cloud).acks == {"one": set(range(1, BATCH + 1))}


def test_refused_message_is_quarantined_and_acknowledged() -> None:
    cloud, device = local(), DeviceDouble("one")
    cloud.deliver(*device.sample(predicted=99), at(1))
    assert sent(cloud).acks == {"one": {1}}
    assert cloud.core.counters["quarantined.out-of-range"] == 1
    assert not cloud.store.snapshot().samples


def test_number_that_no_database_holds_is_acknowledged_so_that_it_is_not_sent_for_ever() -> None:
    cloud, device = local(), DeviceDouble("one")
    cloud.deliver(*device.sample(segment=1 << 63), at(1))
    assert sent(cloud).acks == {"one": {1}}
    assert cloud.core.counters["quarantined.out-of-range"] == 1


def test_unreadable_message_is_quarantined_and_nothing_is_sent() -> None:
    cloud = local()
    cloud.deliver(f"edgeadapt/v1/{FLEET}/one/up/sample", b"garbage", at(1))
    assert not cloud.outgoing()
    assert cloud.core.counters["quarantined.malformed"] == 1


def test_older_report_that_arrives_late_moves_nothing() -> None:
    cloud, device = local(), DeviceDouble("one")
    old, new = device.signature(NOISE), device.signature(FOG)
    cloud.deliver(*new, at(1))
    home = sent(cloud).assigns["one"].cohort
    cloud.deliver(*old, at(2))
    late = sent(cloud)
    assert late.acks == {"one": {1}}
    assert not late.assigns
    assert set(cloud.core.cohorts.rows) == {home}


def test_report_of_an_older_segment_is_answered_without_being_retained() -> None:
    cloud, device = local(), DeviceDouble("one")
    older, newer = device.signature(NOISE, segment=1), device.signature(FOG, segment=2)
    cloud.deliver(*newer, at(1))
    cloud.outgoing()
    cloud.deliver(*older, at(2))
    retained = {topic: retain for topic, _, retain in cloud.outgoing() if topic.endswith("assign")}
    assert list(retained.values()) == [False]
    cloud.connected(at(3))
    assert sent(cloud).assigns["one"].segment == 2


def test_unchanged_assignment_is_not_sent_again() -> None:
    cloud, device = local(), DeviceDouble("one")
    cloud.deliver(*device.signature(), at(1))
    assert sent(cloud).assigns
    cloud.deliver(*device.signature(), at(2))
    assert not sent(cloud).assigns


def test_death_of_an_older_session_is_ignored() -> None:
    cloud, device = local(), DeviceDouble("one")
    cloud.deliver(*device.signature(), at(1))
    cloud.deliver(*device.status(online=True, epoch=2), at(2))
    cohort = sent(cloud).assigns["one"].cohort
    cloud.deliver(*device.status(online=False, epoch=1), at(3))
    assert cloud.core.members.present(cohort) == {"one"}
    cloud.deliver(*device.status(online=False, epoch=2), at(4))
    assert cloud.core.members.present(cohort) == set()


def test_job_needs_statistics_and_waits_for_them() -> None:
    adapter = FixedAdapter()
    cloud, device = local(adapter), DeviceDouble("one")
    feed(cloud, device, 20, at(1))
    assert not adapter.requests
    cloud.deliver(*device.signature(), at(2))
    assert len(adapter.requests[0].sample_ids) == 20


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1 << 16))
def test_order_and_repetition_of_delivery_change_nothing_that_is_kept(seed: int) -> None:
    one, two = DeviceDouble("one"), DeviceDouble("two")
    messages = [one.signature(), two.signature(NOISE)]
    messages += [one.sample() for _ in range(6)] + [two.sample() for _ in range(6)]
    shuffled = messages + messages[3:9]
    random.Random(seed).shuffle(shuffled)
    cloud = local()
    for position, message in enumerate(shuffled):
        cloud.deliver(*message, at(position))
    acks = sent(cloud).acks
    assert acks == {"one": set(range(1, 8)), "two": set(range(1, 8))}
    saved = cloud.store.snapshot()
    assert len(saved.samples) == 12
    assert len({sample.arrival for sample in saved.samples}) == 12
    counts = {cloud.core.pool.count(name) for name in cloud.core.cohorts.rows}
    assert counts == {6}
    assert cloud.core.pool.waiting() == 0
