"""What the server says is followed, once, and what anyone could say costs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgeadapt.bundle import Bundle
from edgeadapt.wire import Ack, Assign, Channel, Outcome, Sample, Want, topics
from edgeadapt_device.config import FlaggingSection
from edgeadapt_device.core.state import DeviceState
from edgeadapt_device.io.outbox import MemoryOutbox
from edgeadapt_device.io.store import GenerationStore
from tests.device import rig
from tests.device.rig import COHORT, FLEET, Rig, sealed


class CountingStore(GenerationStore):
    """Counts what reaches the disk."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.commits = 0

    def commit(self, state: DeviceState, envelopes: Mapping[str, bytes]) -> None:
        self.commits += 1
        super().commit(state, envelopes)


def assign(
    device: Rig, *, channel: Channel = "stable", rate: int | None = None, bundle: str = "", segment: int = 0
) -> None:
    message = Assign(
        cohort=COHORT,
        segment=segment,
        channel=channel,
        bundle=bundle or device.bundle.digest,
        budget_bytes_per_hour=rate,
    )
    device.down("assign", message)


def patch_topics(device: Rig) -> set[str]:
    return {topic for topic in device.device.subscriptions if "/cohort/" in topic}


def test_the_rate_that_the_cloud_assigns_counts_also_after_a_restart(tiny: Bundle, tmp_path: Path) -> None:
    device = Rig(tiny, store=GenerationStore(tmp_path))
    device.play(rig.frames(60))
    assert device.device.view(device.now).budget_left_bytes > 900_000
    assign(device, rate=50_000)
    left = device.device.view(device.now).budget_left_bytes
    assert 30_000 < left < 50_000, "what was spent in the hour counts against the new limit"
    device.device.stop()
    again = Rig(tiny, store=GenerationStore(tmp_path), start_mono_s=device.now.mono_s + 20.0)
    assert left - 4_000 < again.device.view(again.now).budget_left_bytes < left, "connecting costs, too"


def test_who_can_only_publish_garbage_does_not_silence_the_device(tiny: Bundle) -> None:
    """4 MB of every kind of noise; a device that counted all of it would send nothing for an hour."""
    device = Rig(tiny)
    before = device.device.view(device.now)
    noise = bytes(500_000)
    for kind in topics.DOWN_KINDS:
        device.device.deliver(topics.down(FLEET, rig.NAME, kind), noise, device.now)
    device.publish(noise)
    device.publish(noise)  # known by now, and ignored
    device.down("ack", Ack(outbox="x" * 500_000, sequences=()))
    device.down("want", Want(outbox="x" * 500_000))
    assign(device, bundle="x" * 500_000)
    after = device.device.view(device.now)
    assert after.bytes_down - before.bytes_down > 4_500_000, "the ledger says what came"
    assert before.budget_left_bytes - after.budget_left_bytes < 4_000_000 // 8 + 5_000
    assert after.budget_left_bytes > 0


def test_a_patch_that_is_believed_counts_in_full_every_time_it_comes(tiny: Bundle) -> None:
    device = Rig(tiny)
    device.assign()
    envelope = sealed(tiny, rig.harmless(tiny), strategy="x" * 200_000)
    for _ in range(3):
        left = device.device.view(device.now).budget_left_bytes
        device.publish(envelope)
        assert left - device.device.view(device.now).budget_left_bytes > len(envelope)


def test_an_assignment_for_another_bundle_is_not_followed(tiny: Bundle) -> None:
    device = Rig(tiny)
    device.publish(sealed(tiny, rig.harmless(tiny)))
    assign(device, bundle="0" * 64, rate=0)
    assert patch_topics(device) == set()
    assert (device.generation, device.outcomes) == ("base", [])
    assert any("is not for this device" in line for line in device.device.log)


def test_an_assignment_that_says_nothing_new_is_not_written_to_the_disk(tiny: Bundle, tmp_path: Path) -> None:
    store = CountingStore(tmp_path)
    device = Rig(tiny, store=store)
    assign(device, rate=3_600_000)
    before = store.commits
    for _ in range(50):
        assign(device, rate=3_600_000)
    assert store.commits == before
    assign(device, rate=7_200)
    assert store.commits == before + 1
    assign(device, channel="canary", rate=7_200)
    assert store.commits == before + 2


def test_a_device_that_is_no_canary_any_more_stops_listening(tiny: Bundle) -> None:
    device = Rig(tiny)
    assign(device, channel="canary")
    assert patch_topics(device) == {topics.patch(FLEET, COHORT, c) for c in ("stable", "canary")}
    assign(device, channel="stable")
    assert patch_topics(device) == {topics.patch(FLEET, COHORT, "stable")}


def test_a_late_answer_for_an_older_segment_does_not_end_a_canarys_listening(tiny: Bundle) -> None:
    device = Rig(tiny)
    both = {topics.patch(FLEET, COHORT, channel) for channel in ("stable", "canary")}
    assign(device, segment=5)
    assign(device, segment=6, channel="canary")
    assert patch_topics(device) == both
    assign(device, segment=5)
    assert patch_topics(device) == both
    assign(device, segment=7)
    assert patch_topics(device) == {topics.patch(FLEET, COHORT, "stable")}
    assign(device, segment=6, channel="canary")
    assert patch_topics(device) == {topics.patch(FLEET, COHORT, "stable")}


def test_cohorts_that_are_forgotten_are_no_longer_listened_to(tiny: Bundle) -> None:
    device = Rig(tiny)
    for segment in range(300):
        device.assign(segment=segment, cohort=f"c{segment}")
    assert patch_topics(device) == {topics.patch(FLEET, f"c{k}", "stable") for k in range(44, 300)}


def test_garbage_on_a_patch_topic_pushes_out_no_sample_and_is_reported_now_and_then(tiny: Bundle) -> None:
    flagging = FlaggingSection(
        policy="entropy-band", entropy_low=0.0, entropy_high=1.0, redundancy_margin=1.0
    )
    outbox = MemoryOutbox(max_bytes=50_000)
    device = Rig(tiny, rig.config(flagging=flagging), outbox=outbox)
    device.device.disconnected(device.now)
    for image in rig.frames(40, level=0.5):
        device.device.step(image, device.now)
    before = len(outbox.pending())
    topic = topics.patch(FLEET, COHORT, "stable")
    for number in range(1000):
        device.device.deliver(topic, b"garbage %d" % number, device.now)
    assert len(outbox.pending()) == before + 1
    assert len(device.device.log) < 10
    device.wait(61.0)
    device.device.deliver(topic, b"once more", device.now)
    device.device.connected(device.now)
    device.sync()
    assert sum(isinstance(m, Sample) for m in device.received) >= 30
    refused = [m for m in device.received if isinstance(m, Outcome)]
    assert [m.state for m in refused] == ["refused", "refused"]
    assert any("999 more" in line for line in device.device.log)


def test_garbage_does_not_make_a_device_repeat_a_refusal_that_counts(tiny: Bundle) -> None:
    device = Rig(tiny)
    foreign = sealed(tiny, rig.harmless(tiny), cohort="c2")
    device.publish(foreign)
    for number in range(400):
        device.device.deliver(topics.patch(FLEET, COHORT, "stable"), b"garbage %d" % number, device.now)
    device.publish(foreign)
    assert sum("wrong-cohort" in o.reason for o in device.outcomes) == 1


def test_quarantined_messages_are_all_counted_and_told_now_and_then(tiny: Bundle) -> None:
    device = Rig(tiny)
    for _ in range(500):
        device.device.deliver("somewhere/else", b"anything", device.now)
    assert device.device.view(device.now).quarantined == 500
    assert sum("quarantined" in line for line in device.device.log) == 1
    device.wait(11.0)
    device.device.deliver("somewhere/else", b"anything", device.now)
    assert "499 more" in device.device.log[-1]
