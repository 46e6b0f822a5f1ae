"""What survives a restart, and what a device makes of a state that it can no longer use in full."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.digest import sha256_hex
from edgeadapt.patch import TrustedKeys, seal
from edgeadapt.wire import Metric, topics
from edgeadapt_device.config import OutputSection
from edgeadapt_device.core import DeviceCore
from edgeadapt_device.core.effects import CommitState
from edgeadapt_device.core.state import Assignment
from edgeadapt_device.io.store import GenerationStore
from tests.device import rig
from tests.device.rig import Rig, sealed


def confirmed(bundle: Bundle, store: GenerationStore) -> tuple[Rig, bytes]:
    """A device that confirmed a patch and committed it, and the patch."""
    device, envelope = Rig(bundle, store=store), sealed(bundle, rig.harmless(bundle))
    device.assign()
    device.publish(envelope)
    device.play(rig.frames(90))
    assert [o.state for o in device.outcomes] == ["trial", "confirmed"]
    return device, envelope


def test_a_process_killed_while_its_first_session_is_built_forgets_nothing(
    tiny: Bundle, tmp_path: Path
) -> None:
    device, envelope = confirmed(tiny, GenerationStore(tmp_path))
    learnt = device.device.core.adaptation.patches.known_good.statistics
    device.wait(10.0)
    for _ in range(2):
        store = GenerationStore(tmp_path)
        state, envelopes = store.load()
        core = DeviceCore(
            tiny,
            rig.config(),
            TrustedKeys([rig.KEY.public_key().public_bytes_raw()]),
            rng=np.random.default_rng(),
            outbox="o",
            state=state,
            envelopes=envelopes,
        )
        for effect in core.start(Instant(0.0, rig.START_S)):
            if isinstance(effect, CommitState):
                store.commit(effect.state, effect.envelopes)
    state, _ = GenerationStore(tmp_path).load()
    assert state is not None
    assert state.patch == sha256_hex(envelope)
    np.testing.assert_array_equal(np.frombuffer(state.mean, "<f4"), learnt[0])
    again = Rig(tiny, store=GenerationStore(tmp_path), start_mono_s=500.0)
    assert again.generation == sha256_hex(envelope)[:12]


def test_one_flipped_byte_in_the_running_patch_costs_only_that_patch(tiny: Bundle, tmp_path: Path) -> None:
    device, old = confirmed(tiny, GenerationStore(tmp_path))
    device.play(rig.frames(80, seed=2, level=0.5))
    device.assign(segment=1)
    values = {"norm2.bias": tiny.base_slots()["norm2.bias"] + np.float32(0.021)}
    newer = sealed(tiny, values, serial=7)
    device.publish(newer)
    device.play(rig.frames(100, seed=3, level=0.5))
    device.device.core.adaptation.patches.block("0" * 64)
    device.wait(10.0)
    epoch = device.device.core.epoch
    path = tmp_path / "patches" / f"{sha256_hex(newer)}.patch"
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(bytes(data))

    store = GenerationStore(tmp_path)
    again = Rig(tiny, store=store, start_mono_s=999.0)
    core = again.device.core
    assert again.generation == "base"
    assert (core.epoch, core.adaptation.tracker.segment) == (epoch + 1, 1)
    assert "0" * 64 in core.adaptation.patches.blocked
    assert any("damaged" in note for note in store.notes)
    assert any("starting from the base" in line for line in again.device.log)
    again.publish(old)
    assert "old-serial" in again.device.view(again.now).refusals[-1]
    again.publish(newer)
    assert again.outcomes[-1].state == "trial", "the patch itself may come again"
    again.play(rig.frames(100, seed=4, level=0.5))
    again.wait(10.0)
    third = Rig(tiny, store=GenerationStore(tmp_path), start_mono_s=1999.0)
    assert third.generation == sha256_hex(newer)[:12], "and is whole on the disk again"


def test_a_lost_update_can_come_again_though_an_older_patch_still_stands(
    tiny: Bundle, tmp_path: Path
) -> None:
    device, _ = confirmed(tiny, GenerationStore(tmp_path))
    device.assign(cohort="c2")
    values = {"norm2.bias": tiny.base_slots()["norm2.bias"] + np.float32(0.021)}
    newer = sealed(tiny, values, serial=4)
    device.publish(newer)
    (tmp_path / "patches" / f"{sha256_hex(newer)}.patch").unlink()

    again = Rig(tiny, store=GenerationStore(tmp_path), start_mono_s=500.0)
    again.publish(updated(tiny, 3))
    assert "old-serial" in again.device.view(again.now).refusals[-1]
    again.publish(newer)
    again.assign()
    again.sync()
    assert again.outcomes[-1].state == "trial"
    again.publish(updated(tiny, 4))
    assert "old-serial" in again.device.view(again.now).refusals[-1], "there is one of this serial now"


def test_assignments_that_cannot_be_listened_to_are_not_taken_over(tiny: Bundle, tmp_path: Path) -> None:
    device = Rig(tiny, store=GenerationStore(tmp_path))
    device.assign()
    store = GenerationStore(tmp_path)
    state, envelopes = store.load()
    assert state is not None
    bad = (Assignment(1, "a#b", False), Assignment(-1, "c", False), Assignment(1 << 60, "c", False))
    store.commit(msgspec.structs.replace(state, assignments=(*bad, *state.assignments)), envelopes)
    again = Rig(tiny, store=GenerationStore(tmp_path), start_mono_s=100.0)
    assert {t for t in again.device.subscriptions if "cohort" in t} == {
        topics.patch(rig.FLEET, rig.COHORT, "stable")
    }


def test_a_restart_in_a_young_segment_still_asks_the_bank(tiny: Bundle, tmp_path: Path) -> None:
    settings = rig.config(output=OutputSection(commit_every_s=0.5))
    device = Rig(tiny, settings, store=GenerationStore(tmp_path))
    device.play(rig.frames(100))
    device.play(rig.frames(80, seed=2, level=0.5))
    device.assign(segment=1)
    envelope = sealed(tiny, rig.harmless(tiny))
    device.publish(envelope)
    device.play(rig.frames(100, seed=3, level=0.5))
    device.play(rig.frames(80, seed=4))
    device.device.disconnected(device.now)
    images, played = rig.frames(150, seed=5, level=0.5), 0
    while device.device.view(device.now).segment < 3:
        device.play(images[played : played + 1])
        played += 1
    device.play(images[played : played + 5])
    assert device.generation == "base"

    again = Rig(tiny, settings, store=GenerationStore(tmp_path), start_mono_s=500.0)
    again.device.disconnected(again.now)
    again.play(images[played + 5 :])
    assert again.device.view(again.now).segment == 3
    assert again.generation == sha256_hex(envelope)[:12]


def updated(bundle: Bundle, serial: int) -> bytes:
    values = {"norm2.bias": bundle.base_slots()["norm2.bias"] + np.float32(0.001 * serial)}
    return sealed(bundle, values, serial=serial)


def test_serials_survive_so_that_an_older_patch_stays_refused(tiny: Bundle, tmp_path: Path) -> None:
    device = Rig(tiny, store=GenerationStore(tmp_path))
    device.assign()
    device.publish(updated(tiny, 7))
    device.play(rig.frames(70))
    again = Rig(tiny, store=GenerationStore(tmp_path), start_mono_s=500.0)
    again.publish(updated(tiny, 6))
    assert "old-serial" in again.device.view(again.now).refusals[-1]


def test_a_reverted_patch_stays_blocked(tiny: Bundle, tmp_path: Path) -> None:
    device = Rig(tiny, store=GenerationStore(tmp_path))
    device.assign()
    envelope = sealed(tiny, rig.harmful(tiny))
    device.publish(envelope)
    device.play(rig.frames(70))
    assert device.outcomes[-1].state == "reverted"
    for start_s in (500.0, 1000.0):
        again = Rig(tiny, store=GenerationStore(tmp_path), start_mono_s=start_s)
        again.assign()
        again.publish(envelope)
        again.play(rig.frames(5))
        assert (again.generation, again.outcomes) == ("base", [])


@pytest.mark.parametrize("key", [rig.KEY, Ed25519PrivateKey.from_private_bytes(bytes(32))])
def test_a_stored_patch_is_judged_again_before_it_runs(
    tiny: Bundle, tmp_path: Path, key: Ed25519PrivateKey
) -> None:
    device, _ = confirmed(tiny, GenerationStore(tmp_path))
    device.device.stop()
    store = GenerationStore(tmp_path)
    state, _ = store.load()
    assert state is not None
    ours = key is rig.KEY
    values = {"norm2.bias": np.full(12, 1e6, np.float32)} if ours else rig.harmless(tiny)
    planted = seal(rig.header(tiny), values, rig.NO_SIGNATURE, key)
    digest = sha256_hex(planted)
    record = msgspec.structs.replace(state.bank[0], digest=digest)
    store.commit(msgspec.structs.replace(state, patch=digest, bank=(record,)), {digest: planted})
    again = Rig(tiny, store=GenerationStore(tmp_path), start_mono_s=500.0)
    assert again.generation == "base"
    reason = "out-of-bounds" if ours else "unknown-key"
    assert any(reason in line for line in again.device.log)


def test_a_state_of_another_bundle_keeps_only_its_epoch_and_segment(tiny: Bundle, tmp_path: Path) -> None:
    device, envelope = confirmed(tiny, GenerationStore(tmp_path))
    device.device.stop()
    epoch = device.device.core.epoch
    store = GenerationStore(tmp_path)
    state, envelopes = store.load()
    assert state is not None
    store.commit(msgspec.structs.replace(state, bundle="0" * 64), envelopes)
    again = Rig(tiny, store=GenerationStore(tmp_path), start_mono_s=500.0)
    core = again.device.core
    assert again.generation == "base"
    assert (core.epoch, core.adaptation.tracker.segment) == (epoch + 1, 1)
    assert any("bundle has changed" in line for line in again.device.log)
    again.assign(segment=1)
    again.publish(envelope)
    assert [o.state for o in again.outcomes] == ["trial"], "its serials began anew"


def test_the_state_is_written_from_time_to_time_and_metrics_go_out_when_connected(
    tiny: Bundle, tmp_path: Path
) -> None:
    settings = rig.config(output=OutputSection(commit_every_s=5.0, metric_every_s=30.0))
    device = Rig(tiny, settings, store=GenerationStore(tmp_path))
    device.play(rig.frames(20))
    device.wait(4.0)
    state, _ = GenerationStore(tmp_path).load()
    assert state is not None
    assert state.frames == 20
    device.sync()
    assert not any(isinstance(m, Metric) for m in device.received)
    device.wait(25.0)
    device.sync()
    (metric,) = [m for m in device.received if isinstance(m, Metric)]
    assert (metric.frames, metric.generation) == (20, "base")
    assert 0 < metric.budget_left_bytes - device.device.view(device.now).budget_left_bytes < 1_000
    assert {line.purpose for line in metric.ledger if line.messages} >= {"control"}
    device.device.disconnected(device.now)
    device.wait(31.0)
    device.device.connected(device.now)
    device.sync()
    assert sum(isinstance(m, Metric) for m in device.received) == 1, "a metric may be lost"
