"""A row is forgotten only on the server's word, and goes out again until then."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.wire import Ack, Command, Sample, SignatureReport, decode
from edgeadapt_device.config import BudgetSection, DeliverySection, FlaggingSection, MqttSection
from edgeadapt_device.core.effects import Publish
from edgeadapt_device.core.uplink.budget import OVERHEAD_BYTES, Budget
from edgeadapt_device.core.uplink.delivery import Delivery
from edgeadapt_device.core.uplink.rows import PendingRow
from edgeadapt_device.io.outbox import MemoryOutbox
from tests.device import rig
from tests.device.rig import Rig

SETTINGS = rig.config(
    # Nothing is asked about: every row is one to be sent.
    flagging=FlaggingSection(
        policy="entropy-band", entropy_low=0.0, entropy_high=1.0, redundancy_margin=1.0, clusters=0
    ),
    delivery=DeliverySection(in_flight=4, resend_s=20.0),
)


def taken(device: Rig) -> list[int]:
    """Sequences that were published since the last call, without acknowledging them."""
    messages = [decode(payload) for _, payload, _ in device.device.outgoing()]
    return [m.sequence for m in messages if isinstance(m, (Sample, SignatureReport))]


def filled(bundle: Bundle, frames: int = 12) -> Rig:
    device = Rig(bundle, SETTINGS)
    for image in rig.frames(frames, level=0.5):
        device.device.step(image, device.now)
    return device


def test_only_so_many_are_out_at_a_time_and_only_an_ack_lets_the_next_go(tiny: Bundle) -> None:
    device = filled(tiny)
    stored = [row.sequence for row in device.outbox.pending()]
    assert len(stored) > 8
    assert taken(device) == stored[:4]
    device.down("ack", Ack(outbox=device.outbox.outbox_id, sequences=(stored[1], stored[0])))
    assert taken(device) == stored[4:6]
    assert [row.sequence for row in device.outbox.pending()] == stored[2:]
    assert device.device.view(device.now).uploaded == 2


def test_an_ack_for_another_outbox_or_of_unknown_rows_forgets_nothing(tiny: Bundle) -> None:
    device = filled(tiny)
    stored = tuple(row.sequence for row in device.outbox.pending())
    taken(device)
    device.down("ack", Ack(outbox="0" * 32, sequences=stored))
    device.down("ack", Ack(outbox=device.outbox.outbox_id, sequences=(10_000, -1)))
    assert tuple(row.sequence for row in device.outbox.pending()) == stored
    assert taken(device) == []
    assert device.device.view(device.now).uploaded == 0


def test_an_ack_counts_once(tiny: Bundle) -> None:
    device = filled(tiny)
    first = taken(device)[0]
    for _ in range(3):
        device.down("ack", Ack(outbox=device.outbox.outbox_id, sequences=(first, first)))
    assert device.device.view(device.now).uploaded == 1


def test_what_was_out_goes_out_again_after_a_reconnect_in_order(tiny: Bundle) -> None:
    device = filled(tiny)
    out = taken(device)
    device.device.disconnected(device.now)
    device.wait(1.0)
    assert taken(device) == []
    device.device.connected(device.now)
    assert taken(device) == out


def test_an_unanswered_row_goes_out_again_after_a_pause_that_grows(tiny: Bundle) -> None:
    device = filled(tiny)
    out = taken(device)
    device.wait(14.0)
    assert taken(device) == []
    device.wait(12.0)
    assert sorted(taken(device)) == out
    device.wait(26.0)
    assert taken(device) == []
    device.wait(26.0)
    assert sorted(taken(device)) == out


def test_a_report_overtakes_waiting_samples(tiny: Bundle) -> None:
    device = filled(tiny)
    assert len(taken(device)) == 4, "samples hold all the places there are for samples"
    device.down("command", Command(id="1", action="report"))
    report = max(row.sequence for row in device.outbox.pending())
    assert taken(device) == [report]


def test_rows_of_an_earlier_process_are_sent_by_the_next(tiny: Bundle) -> None:
    outbox = MemoryOutbox()
    device = Rig(tiny, SETTINGS, outbox=outbox)
    device.device.disconnected(device.now)
    for image in rig.frames(6, level=0.5):
        device.device.step(image, device.now)
    stored = [row.sequence for row in outbox.pending()]
    assert stored
    again = Rig(tiny, SETTINGS, outbox=outbox, start_mono_s=100.0)
    again.sync()
    samples = [m for m in again.received if isinstance(m, Sample)]
    assert [(m.outbox, m.sequence) for m in samples] == [(outbox.outbox_id, s) for s in stored]
    assert len(outbox) == 0


def serve(device: Rig, answers: Callable[[int], bool]) -> list[int]:
    """Acknowledge those of the published rows that the server can read; returns them."""
    got = [sequence for sequence in taken(device) if answers(sequence)]
    if got:
        device.down("ack", Ack(outbox=device.outbox.outbox_id, sequences=tuple(got)))
    return got


IMPATIENT = rig.config(
    flagging=SETTINGS.flagging,
    delivery=DeliverySection(in_flight=4, resend_s=1.0, resend_max_s=4.0, yield_after_sends=2),
)


def test_rows_that_the_server_cannot_read_hold_up_no_others(tiny: Bundle) -> None:
    device = Rig(tiny, IMPATIENT)
    got: list[int] = []
    for image in rig.frames(100, level=0.5):
        device.wait(0.5)
        device.device.step(image, device.now)
        got += serve(device, lambda sequence: sequence > 4)
    unread = [row.sequence for row in device.outbox.pending()]
    assert unread == [1, 2, 3, 4]
    assert len(got) > 80


def test_a_sample_that_is_ignored_for_long_is_dropped_but_not_while_the_server_is_silent(
    tiny: Bundle,
) -> None:
    delivery = msgspec.structs.replace(IMPATIENT.delivery, drop_after_sends=6)
    device = Rig(tiny, rig.config(flagging=SETTINGS.flagging, delivery=delivery))
    for image in rig.frames(3, level=0.5):
        device.device.step(image, device.now)
    for _ in range(400):
        device.wait(0.5)
        taken(device)
    assert len(device.outbox) == 3, "a server that is down ignores nothing"
    for order in range(60):
        device.down("command", Command(id=str(order), action="report"))
        serve(device, lambda sequence: sequence > 3)
        device.wait(2.0)
    assert len(device.outbox) == 0
    assert any("not answered by the server" in line for line in device.device.log)
    assert device.device.view(device.now).uploaded == 0


def test_reports_that_nobody_answers_are_never_dropped_and_do_not_stop_new_ones(tiny: Bundle) -> None:
    delivery = msgspec.structs.replace(IMPATIENT.delivery, in_flight=16, drop_after_sends=3)
    device = Rig(tiny, rig.config(delivery=delivery))
    for order in range(40):
        device.down("command", Command(id=str(order), action="report"))
        device.wait(2.0)
        serve(device, lambda sequence: sequence > 8)
    assert [row.sequence for row in device.outbox.pending()] == list(range(1, 9))


def data_bytes(device: Rig) -> int:
    """What samples and reports have cost; connecting by itself does not count."""
    lines = device.device.view(device.now).ledger
    return sum(line.bytes_up for line in lines if line.purpose != "control")


def test_a_link_that_comes_and_goes_costs_no_resend_each_time(tiny: Bundle) -> None:
    device = filled(tiny)
    out = taken(device)
    device.down("command", Command(id="1", action="report"))
    taken(device)
    before = data_bytes(device)
    again = 0
    for _ in range(60):
        device.device.disconnected(device.now)
        device.wait(0.1)
        device.device.connected(device.now)
        again += len(taken(device))
    assert again == len(out) + 1, "each row once, then its pause counts"
    assert data_bytes(device) < 2.5 * before
    device.wait(60.0)
    assert len(taken(device)) == len(out) + 1


def test_an_attempt_to_connect_that_fails_makes_no_short_connection_a_long_one(tiny: Bundle) -> None:
    device = filled(tiny)
    out = taken(device)
    again = 0
    for _ in range(60):
        device.device.disconnected(device.now)
        device.device.disconnected(device.now)
        device.wait(0.1)
        device.device.connected(device.now)
        again += len(taken(device))
    assert again == len(out), "each row once, then its pause counts"


def test_resent_reports_wait_for_their_bytes_and_outcomes_do_not(tiny: Bundle) -> None:
    budget = BudgetSection(bytes_per_hour=20_000, burst_bytes=3_000, debt_bytes=0)
    device = Rig(tiny, rig.config(budget=budget, delivery=IMPATIENT.delivery))
    for order in range(8):
        device.down("command", Command(id=str(order), action="report"))
    for _ in range(400):
        device.wait(2.0)
    view = device.device.view(device.now)
    (reports,) = [line.bytes_up for line in view.ledger if line.purpose == "report"]
    assert 8_000 < reports < 20_000, "they did go out again, until all was spent"
    assert len(device.outbox) == 8
    device.device.outgoing()
    device.publish(b"no patch at all")
    assert [o.state for o in device.outcomes] == ["refused"]


def test_what_cannot_be_paid_yet_waits_without_spinning_and_goes_out_then(tiny: Bundle) -> None:
    budget = BudgetSection(bytes_per_hour=36_000, burst_bytes=20_000, debt_bytes=0)
    delivery = DeliverySection(in_flight=4, resend_s=20.0)
    # What a connection costs by itself would take most of so small a budget.
    quiet = MqttSection(keepalive_s=3600)
    device = Rig(tiny, rig.config(flagging=SETTINGS.flagging, budget=budget, delivery=delivery, mqtt=quiet))
    for image in rig.frames(60, level=0.5):
        device.wait(0.1)
        device.device.step(image, device.now)
    first = taken(device)
    device.device.core._uploads.budget.control(12_000, 0, device.now)
    device.device.disconnected(device.now)
    device.device.connected(device.now)
    samples = [row.sequence for row in device.outbox.pending() if row.kind == "sample"]
    assert [sequence for sequence in first if sequence in samples] == samples[:4]
    sent = [sequence for sequence in taken(device) if sequence in samples]
    assert sent == [], "the link is spent"
    for _ in range(200):
        deadline = device.device.core.next_deadline()
        assert deadline is not None
        assert deadline > device.now.mono_s, "a deadline in the past is a busy loop"
        device.wait(deadline - device.now.mono_s)
        sent += taken(device)
    assert samples[0] in sent


def test_a_resend_larger_than_the_bucket_still_goes_out(tiny: Bundle) -> None:
    budget, row = Budget(BudgetSection(bytes_per_hour=3_600_000, burst_bytes=5_000)), 20_000
    delivery = Delivery(DeliverySection(), np.random.default_rng(1), (PendingRow(1, "sample", row),))
    delivery.connect(0, Instant(0.0, 0.0))
    assert delivery.pump(Instant(0.0, 0.0), budget).publish == (
        Publish(1, DeliverySection().sample_expiry_s),
    )
    assert budget.left_bytes(Instant(0.0, 0.0)) == 5_000 - row - OVERHEAD_BYTES


def test_a_row_that_the_broker_would_never_take_is_not_paid_for_again() -> None:
    budget, now = Budget(BudgetSection()), Instant(0.0, 0.0)
    delivery = Delivery(DeliverySection(), np.random.default_rng(1), (PendingRow(1, "sample", 20_000),))
    delivery.connect(1_000, now)
    assert delivery.pump(now, budget).too_large == (1,)
    assert budget.ledger.up_bytes == 0


def test_what_the_broker_would_never_take_is_dropped(tiny: Bundle) -> None:
    device = Rig(tiny, SETTINGS)
    device.device.disconnected(device.now)
    for image in rig.frames(6, level=0.5):
        device.device.step(image, device.now)
    stored = device.outbox.pending()
    most = min(row.size_bytes for row in stored) + 256
    device.device.connected(device.now, max_packet_bytes=most)
    small = [row.sequence for row in stored if row.size_bytes + 256 <= most]
    assert taken(device) == small
    assert [row.sequence for row in device.outbox.pending()] == small
    assert any("larger than the broker allows" in line for line in device.device.log)


def test_samples_that_the_outbox_dropped_leave_nothing_behind(tiny: Bundle) -> None:
    device = Rig(tiny, SETTINGS, outbox=MemoryOutbox(max_bytes=5_000))
    device.device.disconnected(device.now)
    for image in rig.frames(100, level=0.5):
        device.device.step(image, device.now)
    kept = [row.sequence for row in device.outbox.pending()]
    assert len(kept) < 10
    delivery = device.device.core._uploads.delivery
    assert len(delivery) == len(kept)
    assert sum(len(lane.fresh) + len(lane.again) + len(lane.out) for lane in delivery._lanes) == len(kept)
    device.device.connected(device.now)
    samples = [row.sequence for row in device.outbox.pending() if row.kind == "sample"]
    assert [sequence for sequence in taken(device) if sequence in samples] == samples[:4]


class Moves(NamedTuple):
    """One step of a random life: what happens, to which row, and how long it takes."""

    what: str
    which: int
    pause_s: float


_LIFE = st.lists(
    st.builds(
        Moves,
        st.sampled_from(("sample", "report", "ack", "drop", "connect", "disconnect", "wait")),
        st.integers(0, 40),
        st.floats(0.0, 30.0),
    ),
    max_size=80,
)


@given(_LIFE, st.sampled_from((0, 700, 100_000)))
def test_every_row_waits_in_one_place_and_no_deadline_is_in_the_past(life: list[Moves], packet: int) -> None:
    settings = DeliverySection(in_flight=3, in_flight_reports=2, resend_s=5.0, yield_after_sends=2)
    budget = Budget(BudgetSection(bytes_per_hour=360_000, burst_bytes=3_000))
    delivery, now = Delivery(settings, np.random.default_rng(2), ()), Instant(0.0, 0.0)
    alive: set[int] = set()
    for number, (what, which, pause_s) in enumerate(life):
        now = Instant(now.mono_s + pause_s, 0.0)
        if what in ("sample", "report"):
            delivery.add(PendingRow(number, what, 100 * which))
            alive.add(number)
        elif what in ("ack", "drop"):
            done = delivery.acknowledge((which,)) if what == "ack" else delivery.forget((which,))
            assert {row.sequence for row in done} == alive & {which}
            alive.discard(which)
        elif what == "connect":
            delivery.connect(packet, now)
        elif what == "disconnect":
            delivery.disconnect(now)
        sending = delivery.pump(now, budget)
        sent = [publish.sequence for publish in sending.publish]
        assert set(sent) <= alive
        assert len(sent) == len(set(sent))
        alive -= {row.sequence for row in delivery.forget((*sending.too_large, *sending.ignored))}
        places = [s for lane in delivery._lanes for part in (lane.again, lane.fresh, lane.out) for s in part]
        assert sorted(places) == sorted(alive)
        assert all(len(lane.out) <= lane.slots for lane in delivery._lanes)
        deadline = delivery.next_deadline()
        assert deadline is None or deadline > now.mono_s
        assert not (delivery.connected and alive and deadline is None)
