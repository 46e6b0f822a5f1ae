"""A domain that returns gets what has proved itself there, whatever has arrived since."""

from __future__ import annotations

import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.digest import sha256_hex
from edgeadapt.patch import TrustedKeys, open_envelope
from edgeadapt.tensors import FloatArray
from edgeadapt_device.core.adapt.domains import BankEntry, PatchBank
from tests.device import rig
from tests.device.rig import COHORT, Rig, sealed

DARK = 0.5


def update(bundle: Bundle) -> dict[str, FloatArray]:
    """Slot values as harmless as the first patch's, but other ones."""
    return {"norm2.bias": bundle.base_slots()["norm2.bias"] + np.float32(0.021)}


def at_home_again(bundle: Bundle) -> tuple[Rig, str]:
    """A device with a confirmed patch for the dark, back at home; and the patch's name."""
    device = Rig(bundle)
    device.play(rig.frames(100))
    device.play(rig.frames(80, seed=2, level=DARK))
    device.assign(segment=1)
    first = sealed(bundle, rig.harmless(bundle))
    device.publish(first)
    device.play(rig.frames(100, seed=3, level=DARK))
    device.play(rig.frames(80, seed=4))
    assert (device.device.view(device.now).segment, device.generation) == (2, "base")
    return device, sha256_hex(first)[:12]


def test_an_update_that_was_never_tried_does_not_take_the_confirmed_patchs_place(tiny: Bundle) -> None:
    device, first = at_home_again(tiny)
    device.publish(sealed(tiny, update(tiny), serial=2))
    device.device.disconnected(device.now)
    device.play(rig.frames(120, seed=5, level=DARK))
    assert device.generation == first


def test_an_update_is_tried_when_its_domain_is_there_and_then_takes_the_place(tiny: Bundle) -> None:
    device, _ = at_home_again(tiny)
    second = sealed(tiny, update(tiny), serial=2)
    device.publish(second)
    device.play(rig.frames(120, seed=5, level=DARK))
    device.assign(segment=3)
    device.play(rig.frames(100, seed=6, level=DARK))
    assert [o.state for o in device.outcomes][-2:] == ["trial", "confirmed"]
    device.play(rig.frames(80, seed=4))
    device.device.disconnected(device.now)
    device.play(rig.frames(120, seed=7, level=DARK))
    assert device.generation == sha256_hex(second)[:12]


def test_a_shift_in_mid_trial_of_an_update_loses_neither(tiny: Bundle) -> None:
    device, first = at_home_again(tiny)
    device.play(rig.frames(120, seed=5, level=DARK))
    device.assign(segment=3)
    second = sealed(tiny, update(tiny), serial=2)
    device.publish(second)
    device.play(rig.frames(10, seed=6, level=DARK))
    assert device.device.view(device.now).trial == "running"
    device.play(rig.frames(80, seed=4))
    bank = device.device.core.adaptation.patches.bank
    assert bank.by_digest(sha256_hex(second)) is not None
    device.device.disconnected(device.now)
    device.play(rig.frames(120, seed=7, level=DARK))
    assert device.generation == first


def test_an_update_that_expired_untried_leaves_the_confirmed_patch(tiny: Bundle) -> None:
    device, first = at_home_again(tiny)
    device.publish(sealed(tiny, update(tiny), serial=2, expires_s=device.now.wall_s + 5.0))
    device.wait(10.0)
    device.assign(segment=2)
    assert device.generation == first


def test_the_base_as_a_clouds_word_stands_at_once_and_ends_what_stood(tiny: Bundle) -> None:
    device, _ = at_home_again(tiny)
    device.publish(sealed(tiny, update(tiny), serial=2))
    device.publish(sealed(tiny, {}, serial=3))
    assert [e.patch.header.serial for e in device.device.core.adaptation.patches.bank.entries()] == [3]
    device.device.disconnected(device.now)
    device.play(rig.frames(120, seed=5, level=DARK))
    assert device.device.view(device.now).segment == 3
    assert device.generation == "base"


def _entry(bundle: Bundle, cohort: str, serial: int = 1) -> BankEntry:
    envelope = sealed(bundle, rig.harmless(bundle), cohort=cohort, serial=serial)
    trusted = TrustedKeys([rig.KEY.public_key().public_bytes_raw()])
    return BankEntry(open_envelope(envelope, trusted), envelope, rig.NO_SIGNATURE)


@pytest.mark.parametrize("use", ["run", "update"])
def test_the_least_recently_used_cohort_goes_when_room_is_short(tiny: Bundle, use: str) -> None:
    entries = {cohort: _entry(tiny, cohort) for cohort in ("c1", "c2", "c3")}
    size = max(len(entry.envelope) for entry in entries.values())
    bank = PatchBank(tiny.calibration, max_bytes=2 * size)
    for cohort in ("c1", "c2"):
        bank.put(entries[cohort].patch, entries[cohort].envelope)
    if use == "run":
        bank.touch("c1")
    else:
        newer = _entry(tiny, "c1", serial=2)
        bank.put(newer.patch, newer.envelope)
    bank.put(entries["c3"].patch, entries["c3"].envelope)
    assert {entry.patch.header.cohort for entry in bank.entries()} == {"c1", "c3"}


def test_a_candidate_that_came_during_a_trial_outlives_the_others_confirmation(tiny: Bundle) -> None:
    bank = PatchBank(tiny.calibration, max_bytes=1 << 20)
    older, newer = _entry(tiny, COHORT, 1), _entry(tiny, COHORT, 2)
    on_trial = bank.put(older.patch, older.envelope)
    bank.put(newer.patch, newer.envelope)
    bank.confirm(on_trial)
    assert bank.standing(COHORT) is on_trial
    found = bank.get(COHORT)
    assert found is not None
    assert found.patch.header.serial == 2
    bank.remove(newer.patch.digest)
    assert bank.get(COHORT) is on_trial
