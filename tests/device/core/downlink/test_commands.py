"""An operator's orders, each obeyed once."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeadapt.bundle import Bundle
from edgeadapt.digest import sha256_hex
from edgeadapt.wire import Command, SignatureReport
from edgeadapt_device.io.store import GenerationStore
from tests.device import rig
from tests.device.rig import Rig, sealed

ROLLBACK = Command(id="order-1", action="rollback")


def patched(bundle: Bundle, store: GenerationStore | None = None) -> tuple[Rig, bytes]:
    device, envelope = Rig(bundle, store=store), sealed(bundle, rig.harmless(bundle))
    device.assign()
    device.publish(envelope)
    device.play(rig.frames(70))
    assert device.generation == sha256_hex(envelope)[:12]
    return device, envelope


def update(bundle: Bundle) -> bytes:
    return sealed(bundle, {"norm2.bias": bundle.base_slots()["norm2.bias"] + np.float32(0.021)}, serial=2)


def test_a_rollback_goes_to_the_base_and_the_patch_never_comes_back(tiny: Bundle) -> None:
    device, envelope = patched(tiny)
    device.down("command", ROLLBACK)
    assert device.generation == "base"
    device.publish(envelope)
    device.assign()
    device.play(rig.frames(30, seed=2))
    assert device.generation == "base"


def test_a_rollback_in_mid_trial_is_an_outcome_and_blocks_what_the_trial_would_go_back_to(
    tiny: Bundle,
) -> None:
    device, _ = patched(tiny)
    second = update(tiny)
    device.publish(second)
    device.play(rig.frames(10, seed=2))
    assert device.device.view(device.now).trial == "running"
    device.down("command", ROLLBACK)
    device.assign()
    device.play(rig.frames(10, seed=3))
    assert device.generation == "base"
    outcome = device.outcomes[-1]
    assert (outcome.state, outcome.reason) == ("reverted", "rolled back by command")
    assert outcome.patch == sha256_hex(second)


def test_a_rollback_that_is_delivered_again_does_not_touch_the_next_patch(
    tiny: Bundle, tmp_path: Path
) -> None:
    device, _ = patched(tiny, GenerationStore(tmp_path))
    device.down("command", ROLLBACK)
    second = update(tiny)
    device.publish(second)
    device.play(rig.frames(70, seed=2))
    name = sha256_hex(second)[:12]
    assert device.generation == name
    device.down("command", ROLLBACK)
    assert device.generation == name
    again = Rig(tiny, store=GenerationStore(tmp_path), start_mono_s=500.0)
    again.down("command", ROLLBACK)
    assert again.generation == name, "nor after a restart"
    again.down("command", Command(id="order-2", action="rollback"))
    assert again.generation == "base"


def test_a_report_is_sent_once_per_order(tiny: Bundle) -> None:
    device = Rig(tiny)
    device.sync()
    for order in ("a", "a", "b"):
        device.down("command", Command(id=order, action="report"))
    device.sync()
    assert sum(isinstance(m, SignatureReport) for m in device.received) == 2


def test_an_order_is_remembered_at_once_whatever_it_was(tiny: Bundle, tmp_path: Path) -> None:
    device = Rig(tiny, store=GenerationStore(tmp_path))

    def kept() -> tuple[str, ...]:
        state, _ = GenerationStore(tmp_path).load()
        return state.commands if state is not None else ()

    for number in range(70):
        device.down("command", Command(id=f"order-{number}", action="report"))
        assert kept()[-1] == f"order-{number}"
    assert kept() == tuple(f"order-{number}" for number in range(6, 70))
