"""Another bundle on the same state folder: nothing of the old one is used, and nothing of it is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.cloud.fleet import BUNDLE, DeviceDouble, FixedAdapter, at, feed, first_patch, local, sent

OTHER = replace(BUNDLE, digest="ef" * 32)


def test_other_bundle_begins_with_cohorts_samples_and_patches_of_its_own(tmp_path: Path) -> None:
    old, one = local(folder=tmp_path), DeviceDouble("one")
    cohort, patch = first_patch(old, one)
    old.deliver(*one.outcome(cohort, patch, "confirmed"), at(3))
    old.close()

    adapter = FixedAdapter()
    new = local(adapter, tmp_path, bundle=OTHER)
    new.connected(at(4))
    said = [topic for topic, _, _ in new.outgoing() if not topic.endswith("/cloud/status")]
    assert not said, "neither the old patches nor the old assignments"
    new.deliver(*one.signature(segment=2, bundle=OTHER.digest), at(5))
    assert sent(new).assigns["one"].cohort == f"c-{OTHER.digest[:8]}-2", "numbers rise over all bundles"
    feed(new, one, 7, at(6), segment=2)
    assert not adapter.requests, "the old samples are not counted"
    feed(new, one, 1, at(6), segment=2)
    assert [(job.job, job.serial, job.state, len(job.serving)) for job in adapter.requests] == [
        (2, 1, b"", 0)
    ]
    assert len(adapter.requests[0].sample_ids) == 8
    new.restart(at(7))
    assert new.core.pool.count(f"c-{OTHER.digest[:8]}-2") == 8
    new.close()


def test_old_bundle_goes_on_where_it_was_when_it_is_served_again(tmp_path: Path) -> None:
    old, one = local(folder=tmp_path), DeviceDouble("one")
    cohort, patch = first_patch(old, one)
    old.deliver(*one.outcome(cohort, patch, "confirmed"), at(3))
    old.close()
    new = local(folder=tmp_path, bundle=OTHER)
    new.deliver(*DeviceDouble("two").signature(bundle=OTHER.digest), at(5))
    new.close()
    again = local(folder=tmp_path)
    again.connected(at(6))
    stable = sent(again).patches[cohort, "stable"]
    assert stable is not None
    assert stable.digest == patch.digest
    assert set(again.core.cohorts.rows) == {cohort}
    again.close()
