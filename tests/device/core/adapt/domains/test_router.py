"""Which remembered domain a segment is: soon, offline, and without going to and fro."""

from __future__ import annotations

import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.digest import sha256_hex
from edgeadapt.signature import Signature
from edgeadapt.tensors import FloatArray
from edgeadapt_device.config import DomainsSection, ProbeSection
from edgeadapt_device.core.adapt.domains import BankEntry, PatchBank, Router
from tests.device import rig
from tests.device.rig import Rig, sealed

DARK = 0.5
CONFIG = DomainsSection(match_frames=12, match_distance=0.6, hysteresis=0.15, patience_frames=4)


def at(bundle: Bundle, place: float) -> FloatArray:
    """A signature that lies `place` whitened source deviations from the source's, all in one direction."""
    calibration = bundle.calibration
    (whitening,) = calibration.signature_whitening.astype(np.float64)
    away = np.linalg.solve(whitening.T, np.full(len(whitening), place))
    return (calibration.signature_mean + away * calibration.signature_std).astype(np.float32)


def remembered(bundle: Bundle, *places: float) -> tuple[PatchBank, list[BankEntry]]:
    """A bank with a confirmed patch for each place."""
    bank, entries = PatchBank(bundle.calibration, 1 << 20), []
    for number, place in enumerate(places):
        envelope = sealed(bundle, rig.harmless(bundle), cohort=f"c{number}")
        entry = bank.put(rig.opened(envelope), envelope)
        entry.signature = at(bundle, place)
        bank.confirm(entry)
        entries.append(entry)
    return bank, entries


def router(bundle: Bundle, bank: PatchBank) -> Router:
    return Router(bank, bundle.calibration, CONFIG)


def choose(
    bundle: Bundle, over: Router, place: float, running: BankEntry | None, frames: int = 20
) -> BankEntry | str | None:
    """What to go over to; "stay" for nothing."""
    route = over.choose(Signature(at(bundle, place), frames), frames, running)
    return "stay" if route is None else route.entry


def test_the_first_look_takes_the_nearest_within_the_match_distance_and_not_before_its_time(
    tiny: Bundle,
) -> None:
    bank, (near, far) = remembered(tiny, 2.0, 3.0)
    assert choose(tiny, router(tiny, bank), 2.3, None, frames=11) == "stay"
    assert choose(tiny, router(tiny, bank), 2.3, None) is near
    assert choose(tiny, router(tiny, bank), 2.8, None) is far
    assert choose(tiny, router(tiny, bank), 5.0, None) == "stay", "an unknown domain gets the base"
    assert choose(tiny, router(tiny, bank), 0.1, None) == "stay", "the source is nearer"


def test_between_two_domains_that_are_alike_it_does_not_go_to_and_fro(tiny: Bundle) -> None:
    """Signatures that wander about the middle between two domains 0.4 apart, at random."""
    bank, (one, other) = remembered(tiny, 2.0, 2.4)
    over, rng = router(tiny, bank), np.random.default_rng(1)
    running = choose(tiny, over, 2.1, None)
    assert running is one
    changes = 0
    for place in 2.2 + 0.07 * rng.normal(size=500):
        found = choose(tiny, over, float(place), one if running is one else other)
        if found != "stay":
            running, changes = found, changes + 1
    assert changes == 0
    nearest = [bank.nearest(at(tiny, float(p)), 0.6) for p in 2.2 + 0.07 * rng.normal(size=100)]
    assert any(entry is other for entry in nearest), "without the margin it would have gone"


def test_a_domain_that_is_clearly_nearer_takes_over_after_some_frames_in_a_row(tiny: Bundle) -> None:
    bank, (one, other) = remembered(tiny, 2.0, 2.4)
    over = router(tiny, bank)
    assert choose(tiny, over, 2.0, None) is one
    found = [choose(tiny, over, 2.38, one) for _ in range(4)]
    assert found[:3] == ["stay"] * 3
    assert found[3] is other
    assert [choose(tiny, over, 2.38, one) for _ in range(3)] == ["stay"] * 3
    assert choose(tiny, over, 2.05, one) == "stay"
    assert [choose(tiny, over, 2.38, one) for _ in range(3)] == ["stay"] * 3, "in a row"


def test_a_domain_that_turns_out_to_be_an_unknown_one_gets_the_base(tiny: Bundle) -> None:
    bank, (one,) = remembered(tiny, 2.0)
    over = router(tiny, bank)
    assert choose(tiny, over, 2.5, None) is one
    assert [choose(tiny, over, 2.7, one) for _ in range(8)] == ["stay"] * 8, "not far enough to tell"
    found = [choose(tiny, over, 2.9, one) for _ in range(4)]
    assert found == ["stay", "stay", "stay", None]


def test_the_source_takes_over_as_any_other_domain_does(tiny: Bundle) -> None:
    bank, (one,) = remembered(tiny, 0.5)
    over = router(tiny, bank)
    assert choose(tiny, over, 0.4, None) is one
    assert [choose(tiny, over, 0.22, one) for _ in range(8)] == ["stay"] * 8
    assert [choose(tiny, over, 0.1, one) for _ in range(4)][-1] is None


def test_a_new_segment_begins_with_a_first_look(tiny: Bundle) -> None:
    bank, (one, other) = remembered(tiny, 2.0, 2.4)
    over = router(tiny, bank)
    assert choose(tiny, over, 2.0, None) is one
    over.new_segment()
    assert choose(tiny, over, 2.4, None) is other


@pytest.mark.parametrize("share", [1.0, 0.05])
def test_a_known_domain_that_returns_has_its_patch_within_a_window_offline(
    tiny: Bundle, share: float
) -> None:
    """`domains.window_frames` frames after the shift is seen, though a settled device probes few."""
    settings = rig.config(probe=ProbeSection(share=share), domains=DomainsSection(), trial=rig.config().trial)
    device = Rig(tiny, settings)
    device.play(rig.frames(100))
    device.play(rig.frames(80, seed=2, level=DARK))
    device.assign(segment=1)
    envelope = sealed(tiny, rig.harmless(tiny))
    device.publish(envelope)
    device.play(rig.frames(100, seed=3, level=DARK))
    device.play(rig.frames(500, seed=4))
    assert (device.device.view(device.now).segment, device.generation) == (2, "base")
    device.device.disconnected(device.now)
    answers = device.play(rig.frames(120, seed=5, level=DARK))
    began = [a.segment for a in answers].index(3)
    back = [a.generation for a in answers].index(sha256_hex(envelope)[:12])
    assert began <= 40
    assert back - began <= DomainsSection().window_frames


def test_what_the_cloud_says_of_a_segment_counts_more_than_what_is_near(tiny: Bundle) -> None:
    """Its cohort's patch runs, though another remembered domain lies nearer."""
    device = Rig(tiny, rig.config(domains=DomainsSection(match_frames=24)))
    device.play(rig.frames(60, level=DARK))
    device.assign()
    told = sealed(tiny, rig.harmless(tiny))
    device.publish(told)
    device.play(rig.frames(70, seed=2, level=DARK))
    adaptation = device.device.core.adaptation
    standing = adaptation.patches.bank.standing(rig.COHORT)
    assert standing is not None
    standing.signature = at(tiny, 3.0)
    other = sealed(tiny, {"norm2.bias": tiny.base_slots()["norm2.bias"] + np.float32(0.03)}, cohort="c9")
    entry = adaptation.patches.bank.put(rig.opened(other), other)
    entry.signature = adaptation.tracker.signature.vector
    adaptation.patches.bank.confirm(entry)
    device.play(rig.frames(60, seed=3, level=DARK))
    assert device.generation == sha256_hex(told)[:12]
    adaptation.patches.told = False
    device.play(rig.frames(20, seed=4, level=DARK))
    assert device.generation == sha256_hex(other)[:12], "or this test shows nothing"


def test_at_home_no_patch_is_called_back_and_one_that_was_is_left(tiny: Bundle) -> None:
    """Whatever the signature says: that of a few classes may lie anywhere."""
    bank, (near,) = remembered(tiny, 0.4)
    domain = Signature(at(tiny, 0.4), 20)
    over = router(tiny, bank)
    assert over.choose(domain, 20, None, at_home=True) is None
    assert [over.choose(domain, 20, None, at_home=True) for _ in range(8)] == [None] * 8
    found = [over.choose(domain, 20, near, at_home=True) for _ in range(4)]
    assert found[:3] == [None] * 3
    assert found[3] is not None
    assert found[3].entry is None
    asked = rig.opened(sealed(tiny, {}, cohort="c9"))
    base = bank.put(asked, b"")
    assert [over.choose(domain, 20, base, at_home=True) for _ in range(8)] == [None] * 8, "that is the base"
    assert router(tiny, bank).choose(domain, 20, None) is not None, "or this test shows nothing"
