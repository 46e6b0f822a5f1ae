"""A device and its cloud speak the highest version they have in common; with none the device keeps all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeadapt.bundle import Bundle
from edgeadapt.wire import (
    AnyMessage,
    Command,
    Message,
    Metric,
    ServerStatus,
    Status,
    Versions,
    decode,
    encode,
    topics,
)
from edgeadapt_device.config import OutputSection
from edgeadapt_device.core.effects import Log
from edgeadapt_device.core.events import Received
from edgeadapt_device.io.store import GenerationStore
from tests.device import rig
from tests.device.rig import FLEET, Rig

STATUS = topics.cloud_status(FLEET)


def hear(device: Rig, speaks: Versions, epoch: int = 1, *, online: bool = True) -> None:
    """The cloud says what it speaks."""
    status = ServerStatus(epoch=epoch, online=online, speaks=speaks)
    device.device.deliver(STATUS, encode(status), device.now)


def sent(device: Rig) -> list[AnyMessage]:
    """What the device published since the last call, whatever its version."""
    return [decode(payload, speaks=(1, 9)) for _, payload, _ in device.device.outgoing()]


def report(device: Rig, number: int) -> None:
    """Make the device send something from its outbox."""
    device.device.deliver(
        topics.down(FLEET, rig.NAME, "command"),
        encode(Command(id=f"order-{number}", action="report")),
        device.now,
    )


def test_a_device_listens_to_the_clouds_status_and_says_what_it_speaks(tiny: Bundle) -> None:
    device = Rig(tiny, speaks=(1, 2))
    assert STATUS in device.device.subscriptions
    (birth,) = [m for m in sent(device) if isinstance(m, Status)]
    assert (birth.protocol, birth.speaks) == (1, (1, 2))


def test_everything_but_greetings_is_in_the_highest_version_in_common(tiny: Bundle) -> None:
    device = Rig(tiny, rig.config(output=OutputSection(metric_every_s=1.0)), speaks=(1, 3))
    sent(device)
    report(device, 1)
    assert {m.protocol for m in sent(device)} == {1}, "the lowest, before the cloud has said anything"
    hear(device, (2, 2))
    report(device, 2)
    device.wait(2.0)
    messages = sent(device)
    assert {type(m).__name__ for m in messages} >= {"SignatureReport", "Reply", "Metric"}
    assert {m.protocol for m in messages} == {2}
    device.device.connected(device.now)
    assert [m.protocol for m in sent(device) if isinstance(m, Status)] == [1]


def test_with_no_version_in_common_all_is_kept_and_said(tiny: Bundle) -> None:
    device = Rig(tiny)
    hear(device, (2, 3))
    sent(device)
    report(device, 1)
    device.play(rig.frames(5))
    device.wait(1000.0)
    assert not device.received
    assert sent(device) == [], "not even a metric"
    view = device.device.view(device.now)
    assert view.outbox_rows >= 1
    assert view.protocol_trouble == (
        "the cloud speaks protocol 2 to 3, this device 1: update the device; "
        "until then everything waits in the outbox"
    )
    assert view.protocol_trouble in device.device.log
    device.device.connected(device.now)
    assert [type(m) for m in sent(device)] == [Status]
    hear(device, (1, 3), epoch=2)
    assert {type(m).__name__ for m in sent(device)} == {"SignatureReport"}
    assert device.device.view(device.now).protocol_trouble == ""


def test_a_device_that_is_ahead_says_that_the_cloud_is_behind(tiny: Bundle) -> None:
    device = Rig(tiny, speaks=(2, 3))
    hear(device, (1, 1))
    assert "update the cloud" in device.device.view(device.now).protocol_trouble


def test_nothing_is_due_while_nothing_can_be_sent(tiny: Bundle) -> None:
    device = Rig(tiny)
    report(device, 1)  # out, and due again in half a minute
    hear(device, (2, 2))
    device.wait(100.0)
    deadline = device.device.core.next_deadline()
    assert deadline is not None
    assert deadline > device.now.mono_s, "or the daemon would come round without a pause"


def test_what_the_cloud_speaks_is_known_to_the_next_process(tiny: Bundle, tmp_path: Path) -> None:
    device = Rig(tiny, store=GenerationStore(tmp_path))
    hear(device, (2, 3))
    again = Rig(tiny, store=GenerationStore(tmp_path))
    assert [type(m) for m in sent(again)] == [Status]
    assert again.device.view(again.now).protocol_trouble


def test_the_death_of_an_older_cloud_changes_nothing(tiny: Bundle) -> None:
    device = Rig(tiny)
    hear(device, (1, 2), epoch=5)
    hear(device, (7, 7), epoch=4, online=False)
    assert device.device.view(device.now).protocol_trouble == ""
    hear(device, (7, 7), epoch=4)
    assert device.device.view(device.now).protocol_trouble, (
        "the birth of a service that lost its store is heard"
    )


def test_the_cloud_of_another_fleet_and_garbage_in_its_place_are_set_aside(tiny: Bundle) -> None:
    device = Rig(tiny)
    other = encode(ServerStatus(epoch=1, online=True, speaks=(9, 9)))
    device.device.deliver(topics.cloud_status("elsewhere"), other, device.now)
    device.device.deliver(STATUS, b"\xc1", device.now)
    device.device.deliver(STATUS, encode(ServerStatus(epoch=1, online=True, speaks=(3, 2))), device.now)
    device.device.deliver(topics.cloud_reply(FLEET, "asker"), other, device.now)
    view = device.device.view(device.now)
    assert (view.quarantined, view.protocol_trouble) == (4, "")
    device.device.deliver(STATUS, b"", device.now)
    assert device.device.view(device.now).quarantined == 4, "a topic that was cleared says nothing"


def test_hearing_the_same_again_is_no_news(tiny: Bundle) -> None:
    device = Rig(tiny)
    hear(device, (2, 2))
    event = Received(STATUS, encode(ServerStatus(epoch=2, online=True, speaks=(2, 2))))
    assert not [e for e in device.device.core.handle(event, device.now) if isinstance(e, Log)]


def test_a_greeting_is_of_version_one_for_ever() -> None:
    for message in (Status(epoch=1, online=True, bundle="b"), ServerStatus(epoch=1, online=True)):
        assert isinstance(message, Message)
        assert message.protocol == 1
    assert issubclass(Metric, Message)


def test_a_row_that_cannot_be_written_in_the_agreed_version_is_dropped_and_said(tiny: Bundle) -> None:
    device = Rig(tiny, speaks=(1, 2))
    device.sync()
    hear(device, (2, 2))
    device.device.disconnected(device.now)
    report(device, 1)
    row = device.outbox.pending()[-1]
    kept = device.outbox._rows
    kept[row.sequence] = replace(kept[row.sequence], payload=b"\xc1")
    device.device.connected(device.now)
    assert "SignatureReport" not in {type(m).__name__ for m in sent(device)}
    assert "1 messages were dropped: the disk has damaged it" in device.device.log
    assert not device.outbox.pending()
