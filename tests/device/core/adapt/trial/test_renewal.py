"""A patch that is issued again, with another serial around the same values, is no new patch to a device."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.digest import sha256_hex
from edgeadapt.tensors import FloatArray
from edgeadapt_device.core.adapt.domains import BankEntry
from edgeadapt_device.core.adapt.generations import Generations
from edgeadapt_device.io.store import GenerationStore
from tests.device import rig
from tests.device.rig import COHORT, Rig, sealed

DARK = 0.5


def confirmed(bundle: Bundle) -> Rig:
    """A device that confirmed serial 1 of its cohort."""
    device = Rig(bundle)
    device.assign()
    device.publish(sealed(bundle, rig.harmless(bundle)))
    device.play(rig.frames(100))
    assert [o.state for o in device.outcomes] == ["trial", "confirmed"]
    return device


def moved(device: Rig) -> FloatArray:
    """The mean that the device holds now."""
    return device.device.core.adaptation.statistics.current[0]


def standing(device: Rig) -> BankEntry:
    found = device.device.core.adaptation.patches.bank.standing(COHORT)
    assert found is not None
    return found


def test_what_runs_and_is_issued_anew_goes_on_without_a_build_or_a_trial(tiny: Bundle) -> None:
    device = confirmed(tiny)
    token, before = device.token, moved(device)
    again = sealed(tiny, rig.harmless(tiny), serial=2)
    device.publish(again)
    last = device.outcomes[-1]
    assert (last.state, last.serial, last.patch) == ("confirmed", 2, sha256_hex(again))
    assert device.token == token
    assert device.device.view(device.now).trial == "confirmed"
    np.testing.assert_array_equal(moved(device), before)
    assert device.generation == sha256_hex(again)[:12]
    assert (standing(device).patch.header.serial, standing(device).confirmed) == (2, True)
    assert standing(device).signature.size
    updates = device.device.view(device.now).updates
    device.play(rig.frames(100, seed=2))
    assert device.device.view(device.now).updates > updates, "it goes on learning under the new name"


def test_a_restart_after_a_renewal_goes_on_with_it(tiny: Bundle, tmp_path: Path) -> None:
    device = Rig(tiny, store=GenerationStore(tmp_path))
    device.assign()
    device.publish(sealed(tiny, rig.harmless(tiny)))
    device.play(rig.frames(100))
    again = sealed(tiny, rig.harmless(tiny), serial=2)
    device.publish(again)
    restarted = Rig(tiny, store=GenerationStore(tmp_path), start_mono_s=500.0)
    assert restarted.generation == sha256_hex(again)[:12]
    assert standing(restarted).confirmed


def test_a_renewal_that_comes_while_the_domain_is_away_stands_for_its_return(tiny: Bundle) -> None:
    device = Rig(tiny)
    device.play(rig.frames(100))
    device.play(rig.frames(80, seed=2, level=DARK))
    device.assign(segment=1)
    device.publish(sealed(tiny, rig.harmless(tiny)))
    device.play(rig.frames(100, seed=3, level=DARK))
    device.play(rig.frames(80, seed=4))
    assert device.generation == "base"
    again = sealed(tiny, rig.harmless(tiny), serial=2)
    device.publish(again)
    device.device.disconnected(device.now)
    device.play(rig.frames(120, seed=5, level=DARK))
    assert device.generation == sha256_hex(again)[:12]


def test_the_confirmed_patch_issued_anew_ends_the_trial_of_an_update(tiny: Bundle) -> None:
    device = confirmed(tiny)
    token = device.token
    device.publish(sealed(tiny, {"norm2.bias": tiny.base_slots()["norm2.bias"] + np.float32(0.03)}, serial=2))
    device.play(rig.frames(10))
    assert device.device.view(device.now).trial == "running"
    device.publish(sealed(tiny, rig.harmless(tiny), serial=3))
    assert (device.token, device.outcomes[-1].state, device.outcomes[-1].serial) == (token, "confirmed", 3)
    assert [e.patch.header.serial for e in device.device.core.adaptation.patches.bank.entries()] == [3]


@pytest.mark.parametrize("first", [{}, {"serial": 1}], ids=["plain base", "base as a patch"])
def test_the_base_as_the_clouds_word_costs_no_statistics(tiny: Bundle, first: dict[str, int]) -> None:
    device = Rig(tiny)
    device.assign()
    if first:
        device.publish(sealed(tiny, {}, **first))
    device.play(rig.frames(100))
    token, before = device.token, moved(device)
    assert np.abs(before - tiny.calibration.norm_mean).max() > 0
    device.publish(sealed(tiny, {}, serial=2))
    assert (device.outcomes[-1].state, device.outcomes[-1].serial) == ("confirmed", 2)
    assert device.token == token
    np.testing.assert_array_equal(moved(device), before)
    updates = device.device.view(device.now).updates
    device.play(rig.frames(100, seed=2))
    assert device.device.view(device.now).updates > updates


def test_values_that_did_harm_are_not_tried_again_under_another_serial(tiny: Bundle, tmp_path: Path) -> None:
    device = Rig(tiny, store=GenerationStore(tmp_path))
    device.assign()
    device.publish(sealed(tiny, rig.harmful(tiny)))
    device.play(rig.frames(61))
    assert [o.state for o in device.outcomes] == ["trial", "reverted"]
    restarted = Rig(tiny, store=GenerationStore(tmp_path), start_mono_s=500.0)
    again = sealed(tiny, rig.harmful(tiny), serial=2)
    for _ in range(2):
        restarted.publish(again)
        restarted.assign()
    (outcome,) = restarted.outcomes
    assert (outcome.state, outcome.serial, outcome.patch) == ("reverted", 2, sha256_hex(again))
    assert "reverted here before" in outcome.reason
    assert restarted.generation == "base"
    restarted.publish(sealed(tiny, rig.harmless(tiny), serial=3))
    assert restarted.outcomes[-1].state == "trial"


def test_values_whose_trial_was_cut_off_are_not_tried_again_either(tiny: Bundle, tmp_path: Path) -> None:
    device = Rig(tiny, store=GenerationStore(tmp_path))
    device.assign()
    device.publish(sealed(tiny, rig.harmless(tiny)))
    device.play(rig.frames(10))
    restarted = Rig(tiny, store=GenerationStore(tmp_path), start_mono_s=500.0)
    restarted.publish(sealed(tiny, rig.harmless(tiny), serial=2))
    assert [(o.state, o.serial) for o in restarted.outcomes] == [("reverted", 1), ("reverted", 2)]


def test_a_state_that_names_no_values_still_blocks_its_patches(tiny: Bundle, tmp_path: Path) -> None:
    store = GenerationStore(tmp_path)
    device, envelope = Rig(tiny, store=store), sealed(tiny, rig.harmful(tiny))
    device.assign()
    device.publish(envelope)
    device.play(rig.frames(61))
    state, envelopes = GenerationStore(tmp_path).load()
    assert state is not None
    store.commit(msgspec.structs.replace(state, blocked=(sha256_hex(envelope),)), envelopes)
    restarted = Rig(tiny, store=GenerationStore(tmp_path), start_mono_s=500.0)
    restarted.publish(envelope)
    assert restarted.outcomes == []
    restarted.publish(sealed(tiny, rig.harmful(tiny), serial=2))
    assert restarted.outcomes[-1].state == "trial"


def test_a_build_in_flight_and_the_one_after_it_take_the_new_name() -> None:
    generations = Generations()
    generations.request("old", {})
    generations.rename("old", "newer")
    generations.request("newer", {})
    generations.rename("newer", "newest")
    generations.ready(1)
    generation, _ = generations.ready(2)
    assert generation is not None
    assert generation.patch == generations.patch_of(2) == "newest"
    generations.request("newest", {})
    generations.rename("newest", "last")
    generation, _ = generations.ready(3)
    assert generation is not None
    assert generation.patch == "last"
