"""A rollback that is ordered at the device itself: the base at once, for good, and the cloud hears of it."""

from __future__ import annotations

from pathlib import Path

from edgeadapt.bundle import Bundle
from edgeadapt.digest import sha256_hex
from edgeadapt_device.core import events as ev
from edgeadapt_device.core.core import DeviceCore
from edgeadapt_device.core.effects import BuildGeneration, CommitState
from edgeadapt_device.io.store import GenerationStore
from tests.device import rig
from tests.device.rig import Rig, sealed

ORDER = ev.Rollback("too many false alarms")


def patched(bundle: Bundle, store: GenerationStore | None = None) -> tuple[Rig, bytes]:
    """A device that has confirmed a patch."""
    device, envelope = Rig(bundle, store=store), sealed(bundle, rig.harmless(bundle))
    device.assign()
    device.publish(envelope)
    while device.generation == "base" or device.device.view(device.now).trial != "confirmed":
        device.play(rig.frames(50))
    return device, envelope


def give(device: Rig, order: ev.Rollback) -> None:
    device.device._handle(order, device.now)
    device.sync()


def test_it_goes_to_the_base_for_good_and_the_cloud_is_told(tiny: Bundle) -> None:
    device, envelope = patched(tiny)
    give(device, ORDER)
    assert device.generation == "base"
    outcome = device.outcomes[-1]
    assert (outcome.state, outcome.reason) == ("reverted", "too many false alarms")
    assert (outcome.patch, outcome.serial) == (sha256_hex(envelope), 1)
    device.publish(envelope)
    device.assign()
    device.play(rig.frames(30, seed=2))
    assert device.generation == "base"


def test_in_mid_trial_there_is_one_outcome(tiny: Bundle) -> None:
    device = Rig(tiny)
    device.assign()
    device.publish(sealed(tiny, rig.harmless(tiny)))
    device.play(rig.frames(10))
    give(device, ORDER)
    assert device.generation == "base"
    reverted = [outcome for outcome in device.outcomes if outcome.state == "reverted"]
    assert [outcome.reason for outcome in reverted] == ["too many false alarms"]


def test_on_the_base_it_tells_nobody(tiny: Bundle) -> None:
    device = Rig(tiny)
    device.play(rig.frames(10))
    before = len(device.outcomes)
    give(device, ORDER)
    assert device.generation == "base"
    assert len(device.outcomes) == before


def test_it_is_durable_before_the_base_is_built(tiny: Bundle, tmp_path: Path) -> None:
    store = GenerationStore(tmp_path)
    device, envelope = patched(tiny, store)
    core: DeviceCore = device.device.core
    effects = core.handle(ORDER, device.now)
    kinds = [type(effect) for effect in effects]
    assert kinds.index(CommitState) < kinds.index(BuildGeneration)
    (commit,) = [effect for effect in effects if isinstance(effect, CommitState)]
    # A process that ends here starts with the base, and has nothing to complain about.
    store.commit(commit.state, commit.envelopes)
    assert commit.state.patch == ""
    again = Rig(tiny, store=GenerationStore(tmp_path), start_mono_s=1e3)
    assert again.generation == "base"
    assert not [line for line in again.device.log if "could not be restored" in line]
    again.assign()
    again.publish(envelope)
    assert again.generation == "base"
