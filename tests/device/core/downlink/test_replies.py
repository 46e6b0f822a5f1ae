"""Every copy of an order is answered, where its sender asked for it and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.wire import Command, Reply, decode, encode, topics
from edgeadapt_device.core.effects import CommitState, Effect, PublishNow
from edgeadapt_device.core.events import Received
from edgeadapt_device.io.store import GenerationStore
from tests.device import rig
from tests.device.rig import FLEET, NAME, Rig

REPORT = Command(id="order-1", action="report")
OWN = topics.up(FLEET, NAME, "reply")
ASKER = topics.cloud_reply(FLEET, "asker-1")


def order(
    device: Rig, command: Command = REPORT, response_topic: str = ASKER, correlation: bytes = b"c1"
) -> list[Effect]:
    """What the core does about an order that just arrived."""
    event = Received(topics.down(FLEET, NAME, "command"), encode(command), response_topic, correlation)
    return device.device.core.handle(event, device.now)


def answer(effects: list[Effect]) -> tuple[PublishNow, Reply]:
    """The one answer."""
    (found,) = [effect for effect in effects if isinstance(effect, PublishNow)]
    reply = decode(found.payload, Reply)
    assert isinstance(reply, Reply)
    return found, reply


def test_an_order_is_answered_where_it_asks_with_its_correlation(tiny: Bundle) -> None:
    sent, reply = answer(order(Rig(tiny)))
    assert (sent.topic, sent.properties.correlation, sent.qos, sent.retain) == (ASKER, b"c1", 1, False)
    assert sent.properties.expiry_s > 0
    assert (reply.id, reply.done, reply.reason) == ("order-1", True, "obeyed")


def test_every_copy_is_answered_though_only_the_first_is_obeyed(tiny: Bundle, tmp_path: Path) -> None:
    device = Rig(tiny, store=GenerationStore(tmp_path))
    device.down("command", REPORT)
    copies = [answer(order(device, correlation=mark)) for mark in (b"c2", b"c3")]
    assert [(sent.properties.correlation, reply.reason) for sent, reply in copies] == [
        (b"c2", "obeyed-before"),
        (b"c3", "obeyed-before"),
    ]
    again = Rig(tiny, store=GenerationStore(tmp_path))
    assert answer(order(again))[1].reason == "obeyed-before", "after a restart as well"


def test_what_a_device_says_it_did_is_durable_before_it_says_so(tiny: Bundle) -> None:
    effects = order(Rig(tiny))
    kinds = [type(effect) for effect in effects]
    assert kinds.index(CommitState) < kinds.index(PublishNow)


@pytest.mark.parametrize(
    "elsewhere",
    [
        "",
        "answers",
        "$SYS/broker",
        topics.cloud_reply("other-fleet", "asker"),
        topics.cloud_reply(FLEET, "a/b"),
        topics.cloud_reply(FLEET, "#"),
        topics.cloud_reply(FLEET, ""),
        topics.cloud_status(FLEET),
        topics.down(FLEET, "camera-2", "command"),
        topics.up(FLEET, "camera-2", "status"),
        topics.patch(FLEET, "fog", "stable"),
    ],
)
def test_nobody_can_make_a_device_publish_elsewhere(tiny: Bundle, elsewhere: str) -> None:
    sent, _ = answer(order(Rig(tiny), response_topic=elsewhere))
    assert sent.topic == OWN


def test_a_correlation_is_echoed_up_to_a_length(tiny: Bundle) -> None:
    device = Rig(tiny)
    assert answer(order(device, correlation=bytes(64)))[0].properties.correlation == bytes(64)
    assert answer(order(device, correlation=bytes(65)))[0].properties.correlation == b""


def test_an_order_without_an_id_is_refused_and_not_remembered(tiny: Bundle) -> None:
    device = Rig(tiny)
    for _ in range(2):
        _, reply = answer(order(device, Command(id="", action="rollback")))
        assert (reply.done, reply.reason) == (False, "refused")


def test_a_rollback_says_what_it_left(tiny: Bundle) -> None:
    device, envelope = Rig(tiny), rig.sealed(tiny, rig.harmless(tiny))
    device.assign()
    device.publish(envelope)
    device.play(rig.frames(70))
    running = device.generation
    _, reply = answer(order(device, Command(id="r1", action="rollback")))
    assert reply.detail == f"rolled back from {running} to the base"
    _, reply = answer(order(Rig(tiny), Command(id="r1", action="rollback")))
    assert reply.detail == "the base was running already"
