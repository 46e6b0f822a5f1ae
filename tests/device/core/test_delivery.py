"""A row is forgotten only on the server's word, and goes out again until then."""

from __future__ import annotations

from edgeadapt.bundle import Bundle
from edgeadapt.wire import Ack, Command, Sample, SignatureReport, decode
from edgeadapt_device.config import DeliverySection, FlaggingSection
from edgeadapt_device.io.outbox import MemoryOutbox
from tests.device import rig
from tests.device.rig import Rig

SETTINGS = rig.config(
    flagging=FlaggingSection(entropy_low=0.0, entropy_high=1.0, redundancy_margin=1.0),
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
