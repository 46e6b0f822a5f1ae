"""Held samples: announced together, sent when wanted, forgotten when declined, asked about twice."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.descriptor import SIZE
from edgeadapt.wire import Ack, AnyMessage, DescriptorItem, Descriptors, Sample, Want, decode
from edgeadapt_device.config import DeliverySection, DeviceConfig, FlaggingSection
from edgeadapt_device.core.effects import StoreSample
from edgeadapt_device.core.uplink.asking import ITEM_BYTES, WORTH_ASKING, Asking
from edgeadapt_device.core.uplink.rows import PendingRow, Waiting
from edgeadapt_device.io.outbox import MemoryOutbox
from tests.device import rig
from tests.device.rig import Rig

WAIT_S, PAUSE_S = 600.0, 60.0
PATIENT = DeliverySection(descriptor_items=4, descriptor_pause_s=PAUSE_S, want_wait_s=WAIT_S)


def settings(**changes: object) -> DeviceConfig:
    delivery = msgspec.structs.replace(PATIENT, **changes)
    return rig.config(flagging=FlaggingSection(enabled=False), delivery=delivery)


def ask(device: Rig, count: int = 1, *, seed: int = 0, segment: int = 0) -> None:
    """The uplink decides that these frames are questions."""
    rng = np.random.default_rng(seed)
    size = device.bundle.calibration.prototypes.shape[1]
    for image in rig.frames(count, seed=seed + 1):
        effect = StoreSample(
            image=image,
            segment=segment,
            lane="ask",
            entropy=1.0,
            predicted=1,
            generation="base",
            captured_s=rig.START_S,
            price_bytes=100_000,
            verdict="unknown",
            p_value=0.01,
            descriptor=np.asarray(rng.normal(size=size), dtype=np.float32),
            hold=True,
            members=5,
        )
        device.device._performer.perform([effect])
        device.device._performer.drain(device.now)


def sent(device: Rig) -> list[AnyMessage]:
    """What was published since the last call."""
    return [decode(payload) for _, payload, _ in device.device.outgoing()]


def announced(device: Rig) -> list[Descriptors]:
    return [message for message in sent(device) if isinstance(message, Descriptors)]


def answer(device: Rig, *, wanted: tuple[int, ...] = (), declined: tuple[int, ...] = ()) -> None:
    device.down("want", Want(outbox=device.outbox.outbox_id, wanted=wanted, declined=declined))


def acknowledge(device: Rig, *messages: Descriptors | Sample) -> None:
    numbers = tuple(message.sequence for message in messages)
    device.down("ack", Ack(outbox=device.outbox.outbox_id, sequences=numbers))


def test_questions_are_announced_together_and_only_what_is_wanted_crosses_the_wire(tiny: Bundle) -> None:
    device = Rig(tiny, settings())
    ask(device, 3)
    assert not any(isinstance(m, (Sample, Descriptors)) for m in sent(device))
    device.wait(PAUSE_S - 1.0)
    assert announced(device) == []
    device.wait(1.5)
    (message,) = announced(device)
    assert [item.sample for item in message.items] == [1, 2, 3]
    assert (message.bundle, message.segment, message.generation) == (tiny.digest, 0, "base")
    assert {len(item.vector) for item in message.items} == {SIZE}
    assert {(item.lane, item.verdict, item.members) for item in message.items} == {("ask", "unknown", 5)}
    sizes = {row.sequence: row.size_bytes for row in device.outbox.pending()}
    assert all(item.size_bytes == sizes[item.sample] for item in message.items)
    acknowledge(device, message)
    answer(device, wanted=(2,), declined=(1,))
    (sample,) = [m for m in sent(device) if isinstance(m, Sample)]
    assert sample.sequence == 2
    assert [(row.sequence, row.held) for row in device.outbox.pending()] == [(2, False), (3, True)]
    acknowledge(device, sample)
    assert [row.sequence for row in device.outbox.pending()] == [3]


def test_what_is_held_is_shown_beside_what_waits_to_be_sent(tiny: Bundle) -> None:
    device = Rig(tiny, settings())
    ask(device, 3)
    view = device.device.view(device.now)
    assert (view.outbox_rows, view.outbox_held) == (0, 3)
    device.wait(PAUSE_S + 1.0)
    (message,) = announced(device)
    view = device.device.view(device.now)
    assert (view.outbox_rows, view.outbox_held) == (1, 3), "the descriptors are on their way"
    acknowledge(device, message)
    answer(device, wanted=(2,), declined=(1,))
    view = device.device.view(device.now)
    assert (view.outbox_rows, view.outbox_held) == (1, 1)


def test_enough_of_them_are_announced_at_once_and_by_segment(tiny: Bundle) -> None:
    device = Rig(tiny, settings())
    ask(device, 2)
    ask(device, 2, seed=5, segment=1)
    device.wait(0.0)
    messages = announced(device)
    assert {(m.segment, tuple(item.sample for item in m.items)) for m in messages} == {
        (0, (1, 2)),
        (1, (3, 4)),
    }


def test_nothing_is_announced_while_nobody_listens(tiny: Bundle) -> None:
    device = Rig(tiny, settings())
    device.device.disconnected(device.now)
    ask(device, 6)
    device.wait(10 * PAUSE_S)
    assert len(device.outbox) == 6
    device.device.connected(device.now)
    device.wait(0.1)
    (message,) = announced(device)
    assert len(message.items) == 6


@pytest.mark.parametrize("unanswered", ["send", "drop"])
def test_without_an_answer_it_asks_once_more_and_then_helps_itself(
    tiny: Bundle, unanswered: Literal["send", "drop"]
) -> None:
    device = Rig(tiny, settings(unanswered=unanswered))
    ask(device, 4)
    device.wait(0.0)
    acknowledge(device, *announced(device))
    device.wait(WAIT_S - 1.0)
    assert announced(device) == []
    device.wait(2.0)
    again = announced(device)
    assert [item.sample for item in again[0].items] == [1, 2, 3, 4]
    acknowledge(device, *again)
    device.wait(WAIT_S + 1.0)
    samples = [m.sequence for m in sent(device) if isinstance(m, Sample)]
    assert samples == ([1, 2, 3, 4] if unanswered == "send" else [])
    assert len(device.outbox) == len(samples)


def test_the_wait_begins_with_the_servers_word_and_stands_still_without_a_connection(tiny: Bundle) -> None:
    device = Rig(tiny, settings())
    ask(device, 4)
    device.wait(0.0)
    (message,) = announced(device)
    device.wait(5 * WAIT_S)  # the server is away: the descriptors are sent again, but not made anew
    assert {m.sequence for m in announced(device)} == {message.sequence}
    acknowledge(device, message)
    device.wait(WAIT_S / 2)
    device.device.disconnected(device.now)
    device.wait(9 * WAIT_S)
    device.device.connected(device.now)
    device.wait(WAIT_S / 3)
    assert announced(device) == []
    device.wait(WAIT_S / 3)
    assert len(announced(device)) == 1


def test_a_restart_goes_on_with_what_is_held_and_announces_what_was_not(tiny: Bundle) -> None:
    outbox = MemoryOutbox()
    device = Rig(tiny, settings(), outbox=outbox)
    ask(device, 4)
    device.wait(0.0)
    (message,) = announced(device)
    ask(device, 2, seed=9)
    acknowledge(device, message)
    answer(device, wanted=(2,))
    again = Rig(tiny, settings(), outbox=outbox, start_mono_s=1000.0)
    again.wait(0.1)
    said = sent(again)
    assert [m.sequence for m in said if isinstance(m, Sample)] == [2], "it stays wanted"
    (news,) = [m for m in said if isinstance(m, Descriptors)]
    assert [item.sample for item in news.items] == [6, 7], "the others were announced"
    answer(again, wanted=(1,), declined=(3, 4))
    assert [m.sequence for m in sent(again) if isinstance(m, Sample)] == [1]
    again.wait(WAIT_S + 1.0)
    assert not {3, 4} & {row.sequence for row in outbox.pending()}


def test_an_answer_about_another_outbox_or_unknown_rows_changes_nothing(tiny: Bundle) -> None:
    device = Rig(tiny, settings())
    ask(device, 4)
    device.wait(0.0)
    before = device.outbox.pending()
    device.down("want", Want(outbox="0" * 32, wanted=(1,), declined=(2,)))
    answer(device, wanted=(99, -1), declined=(98,))
    answer(device, declined=(before[-1].sequence,))  # the descriptors' own row is not held
    assert device.outbox.pending() == before
    answer(device, wanted=(1, 1), declined=(1,))
    assert 1 not in [row.sequence for row in device.outbox.pending()], "declined counts: the server has it"


def test_what_the_broker_would_never_take_is_not_announced(tiny: Bundle) -> None:
    device = Rig(tiny, settings())
    device.device.connected(device.now, max_packet_bytes=700)
    ask(device, 4)
    device.wait(0.0)
    assert announced(device) == []
    assert len(device.outbox) == 0
    assert any("larger than the broker allows" in line for line in device.device.log)


def test_descriptors_fit_the_brokers_packets() -> None:
    asking = Asking(DeliverySection(descriptor_items=1), None)
    item = DescriptorItem(
        sample=0, lane="ask", verdict="unknown", predicted=0, entropy=0.0, p_value=0.0, size_bytes=0,
        members=1, vector=bytes(SIZE),
    )  # fmt: skip
    for number in range(300):
        held = Waiting(msgspec.structs.replace(item, sample=number), 0, "base")
        asking.add(PendingRow(number, "sample", 900, "ask", held), Instant(0.0, 0.0))
    asking.connect(4000, Instant(0.0, 0.0))
    messages = asking.pump(Instant(1.0, 1.0)).announce
    assert sum(len(m.items) for m in messages) == 300
    assert max(len(msgspec.msgpack.encode(m)) for m in messages) < 4000
    assert [i.sample for m in messages for i in m.items] == list(range(300))


@pytest.mark.parametrize(
    ("policy", "small", "large", "ask_small"),
    [("auto", False, True, True), ("always", True, True, True), ("never", False, False, False)],
)
def test_asking_first_is_worth_it_where_the_picture_costs_much_more(
    policy: Literal["auto", "always", "never"], small: bool, large: bool, ask_small: bool
) -> None:
    asking = Asking(DeliverySection(descriptors_first=policy), None)
    assert asking.worthwhile("adapt", 700) is small
    assert asking.worthwhile("adapt", WORTH_ASKING * ITEM_BYTES + 1) is large
    assert asking.worthwhile("ask", 700) is ask_small
    assert not asking.worthwhile("audit", 1 << 20)


def test_a_sample_without_an_embedding_is_sent_at_once(tiny: Bundle) -> None:
    asking = Asking(DeliverySection(descriptors_first="always"), tiny)
    size = tiny.calibration.prototypes.shape[1]
    assert asking.vector("ask", None, 10_000) is None
    assert asking.vector("ask", np.full(size, np.nan, np.float32), 10_000) is None
    vector = asking.vector("ask", np.arange(size, dtype=np.float32), 10_000)
    assert vector is not None
    assert len(vector) == SIZE


def test_descriptors_and_the_pictures_that_are_wanted_are_paid_for_when_they_are_sent(tiny: Bundle) -> None:
    device = Rig(tiny, settings())

    def spent() -> dict[str, int]:
        lines = device.device.core._uploads.budget.ledger.lines()
        return {line.purpose: line.bytes_up for line in lines if line.purpose in ("ask", "descriptor")}

    before = device.device.view(device.now).budget_left_bytes
    ask(device, 3)
    assert spent() == {"ask": 0, "descriptor": 0}
    assert device.device.view(device.now).budget_left_bytes == before, "what is held costs nothing yet"
    device.wait(PAUSE_S + 1.0)
    (message,) = announced(device)
    told = spent()
    assert told["ask"] == 0
    assert (
        len(msgspec.msgpack.encode(message)) < told["descriptor"] < len(msgspec.msgpack.encode(message)) + 200
    )
    answer(device, wanted=(2,))
    (sample,) = [m for m in sent(device) if isinstance(m, Sample)]
    assert len(msgspec.msgpack.encode(sample)) <= spent()["ask"] < len(msgspec.msgpack.encode(sample)) + 200
