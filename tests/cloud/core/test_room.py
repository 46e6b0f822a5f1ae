"""As many cohorts as there may be: who has to go, and what is said when nobody can."""

from __future__ import annotations

import msgspec

from edgeadapt_cloud.config import CohortConfig
from tests.cloud.fleet import BUNDLE, NOISE, DeviceDouble, at, config, feed, first_patch, local, sent

TWO = config(cohorts=CohortConfig(max_cohorts=2))
DOMAINS = [(8.0 * step, 0.0, 0.0, 0.0) for step in range(1, 6)]


def name(number: int) -> str:
    """A cohort's name."""
    return f"c-{BUNDLE.digest[:8]}-{number}"


def test_device_that_wanders_takes_the_place_of_what_it_left() -> None:
    cloud, wanderer = local(settings=TWO), DeviceDouble("wanderer")
    for segment, domain in enumerate(DOMAINS):
        cloud.deliver(*wanderer.signature(domain, segment=segment), at(segment))
        feed(cloud, wanderer, 5 - segment, at(segment), segment=segment)
    assert sent(cloud).assigns["wanderer"].cohort == name(5)
    assert set(cloud.core.cohorts.rows) == {name(1), name(5)}, "fewest samples first"
    stored = cloud.store.snapshot()
    assert {row.cohort for row in stored.cohorts} == {name(1), name(5)}
    assert {row.cohort for row in stored.segments} == {name(1), name(5)}
    assert cloud.core.pool.waiting() == 4 + 3 + 2
    cloud.restart(at(9))
    assert cloud.core.pool.waiting() == 4 + 3 + 2
    cloud.deliver(*wanderer.signature(DOMAINS[3], segment=3), at(10))
    assert name(6) in cloud.core.cohorts.rows, "numbers are never used again"
    assert cloud.core.pool.count(name(6)) == 2, "the samples that waited come along"


def test_cohort_with_a_patch_or_a_present_device_stays_and_that_is_told() -> None:
    cloud, one, two = local(settings=TWO), DeviceDouble("one"), DeviceDouble("two")
    first_patch(cloud, one)
    cloud.deliver(*one.status(online=False), at(3))
    cloud.deliver(*two.signature(NOISE), at(3))
    sent(cloud)
    cloud.deliver(*DeviceDouble("three").signature(DOMAINS[4]), at(4))
    assert not sent(cloud).assigns
    assert cloud.core.counters["unplaced"] == 1
    assert set(cloud.core.cohorts.rows) == {name(1), name(2)}
    cloud.deliver(*two.status(online=False), at(5))
    cloud.deliver(*DeviceDouble("three").signature(DOMAINS[4], sequence=9), at(6))
    assert sent(cloud).assigns["three"].cohort == name(3)
    cloud.connected(at(7))
    assert set(sent(cloud).assigns) == {"one", "three"}, "nobody is told of a cohort that is gone"
    cloud.deliver(*two.status(online=True, epoch=2), at(8))
    cloud.deliver(*two.signature(DOMAINS[4]), at(8))
    assert sent(cloud).assigns["two"].cohort == name(3)


def test_domain_that_is_known_needs_no_room() -> None:
    settings = msgspec.structs.replace(TWO, cohorts=CohortConfig(max_cohorts=1))
    cloud, one, two = local(settings=settings), DeviceDouble("one"), DeviceDouble("two")
    cloud.deliver(*one.signature(), at(1))
    cloud.deliver(*one.status(online=False), at(2))
    cloud.deliver(*two.signature(), at(3))
    assert sent(cloud).assigns["two"].cohort == name(1)
