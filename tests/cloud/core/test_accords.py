"""The service and its devices find the version that they have in common, over real bytes."""

from __future__ import annotations

from pathlib import Path

from edgeadapt.wire import (
    AnyMessage,
    DescriptorItem,
    Descriptors,
    Reply,
    ServerStatus,
    Status,
    Versions,
    decode,
    encode,
)
from edgeadapt.wire.topics import cloud_status, up
from edgeadapt_cloud.core.effects import CommitMessage, Publish
from edgeadapt_cloud.core.events import Committed, MessageArrived
from edgeadapt_cloud.io.report import read_report
from edgeadapt_cloud.local import LocalCloud
from tests.cloud.fleet import BUNDLE, FLEET, KEY, DeviceDouble, FixedAdapter, at, config, local


def cloud(speaks: Versions) -> LocalCloud:
    """A service of another release."""
    return LocalCloud(config(), BUNDLE, FixedAdapter(), KEY, now=at(0), speaks=speaks)


def birth(device: DeviceDouble, speaks: Versions, epoch: int = 1) -> tuple[str, bytes]:
    """A device says hello."""
    status = Status(epoch=epoch, online=True, bundle=BUNDLE.digest, speaks=speaks)
    return up(FLEET, device.name, "status"), encode(status)


def told(service: LocalCloud, device: DeviceDouble) -> list[AnyMessage]:
    """What was sent to one device since the last call."""
    part = f"/{device.name}/down/"
    return [decode(payload, speaks=(1, 9)) for topic, payload, _ in service.outgoing() if part in topic]


def test_a_service_says_hello_at_every_connection_with_an_epoch_that_rises(tmp_path: Path) -> None:
    epochs = []
    for _ in range(3):
        service = local(folder=tmp_path)
        service.connected(at(1))
        ((_, payload, retain),) = [m for m in service.outgoing() if m[0] == cloud_status(FLEET)]
        status = decode(payload, ServerStatus)
        assert isinstance(status, ServerStatus)
        assert (retain, status.online, status.speaks) == (True, True, (1, 1))
        epochs.append(status.epoch)
        service.close()
    assert epochs == [1, 2, 3]


def test_a_device_is_spoken_to_in_the_highest_version_in_common() -> None:
    service, old, new = cloud((1, 3)), DeviceDouble("old"), DeviceDouble("new")
    service.deliver(*birth(old, (1, 1)), at(1))
    service.deliver(*birth(new, (2, 5)), at(1))
    for device in (old, new):
        service.deliver(*device.signature(), at(2))
    assert {m.protocol for m in told_both(service, old, new)["old"]} == {1}
    for device in (old, new):
        service.deliver(*device.signature(segment=2), at(3))
    found = told_both(service, old, new)
    assert {type(m).__name__ for m in found["new"]} == {"Ack", "Assign"}
    assert {m.protocol for m in found["new"]} == {3}
    service.connected(at(4))
    assert {m.protocol for m in told(service, new)} == {3}, "what is retained as well"


def told_both(service: LocalCloud, *devices: DeviceDouble) -> dict[str, list[AnyMessage]]:
    """By device."""
    found: dict[str, list[AnyMessage]] = {device.name: [] for device in devices}
    for topic, payload, _ in service.outgoing():
        if "/down/" in topic:
            found[topic.split("/")[3]].append(decode(payload, speaks=(1, 9)))
    return found


def test_with_none_in_common_a_device_is_listed_and_sent_nothing(tmp_path: Path) -> None:
    service, ahead, well = local(folder=tmp_path), DeviceDouble("ahead"), DeviceDouble("well")
    service.deliver(*birth(well, (1, 1)), at(1))
    service.deliver(*birth(ahead, (2, 3)), at(1))
    for device in (ahead, well):
        service.deliver(*device.signature(), at(2))
    assert told_both(service, ahead, well)["ahead"] == []
    cohort = service.core.members.cohort_of("ahead")
    assert cohort is not None
    assert service.core.members.present(cohort) == {"well"}, "nor is it a canary"
    troubles = {row.device: row.trouble for row in read_report(tmp_path).devices}
    assert troubles["well"] == ""
    assert troubles["ahead"] == (
        "ahead speaks protocol 2 to 3, this service 1: update the service; until then nothing is sent to it"
    )
    service.deliver(*birth(ahead, (1, 3), epoch=2), at(3))
    service.deliver(*ahead.signature(), at(4))
    assert told(service, ahead), "after an update it takes part again"


def test_the_death_of_an_older_session_of_a_device_is_ignored() -> None:
    service, device = local(), DeviceDouble("d")
    service.deliver(*device.status(online=True, epoch=5), at(1))
    service.deliver(*device.status(online=False, epoch=4), at(2))
    assert service.core.members.rows["d"].online
    service.deliver(*device.status(online=False, epoch=5), at(3))
    assert not service.core.members.rows["d"].online


def test_a_message_in_a_version_that_is_not_spoken_is_set_aside() -> None:
    service, device = local(), DeviceDouble("d")
    service.deliver(*device.sample(protocol=2), at(1))
    assert service.core.counters["quarantined.malformed"] == 1
    newer = cloud((1, 2))
    newer.deliver(*device.sample(protocol=2), at(1))
    assert newer.core.counters["fresh.SampleRow"] == 1


def test_an_answer_about_samples_expires_with_the_place_that_it_gives() -> None:
    service, device = local(), DeviceDouble("d")
    item = DescriptorItem(
        sample=5, lane="ask", verdict="unknown", predicted=1, entropy=0.5, p_value=0.1, size_bytes=900,
        members=1, vector=bytes(range(64)),
    )  # fmt: skip
    message = Descriptors(
        outbox="box", sequence=9, bundle=BUNDLE.digest, segment=1, generation="base", items=(item,)
    )
    event = MessageArrived(up(FLEET, device.name, "descriptor"), encode(message))
    (commit,) = [e for e in service.core.handle(event, at(1)) if isinstance(e, CommitMessage)]
    effects = service.core.handle(Committed(commit.row, fresh=True, arrival=1), at(1))
    (want,) = [e for e in effects if isinstance(e, Publish) and e.topic.endswith("/want")]
    assert want.properties.expiry_s == service.core.config.wants.patience_s


def test_a_reply_is_heard_and_stored_nowhere() -> None:
    service = local()
    reply = Reply(id="o", done=True, reason="obeyed", detail="x" * 400)
    service.deliver(up(FLEET, "d", "reply"), encode(reply), at(1))
    assert not service.core.counters
    assert service.outgoing() == []
