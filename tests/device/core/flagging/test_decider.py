"""Verdicts about single frames: what they rest on, and whose thresholds hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.errors import ConfigError
from edgeadapt.patch import TrustedKeys, open_envelope, seal
from edgeadapt.scoring import Outputs, softmax_and_entropy
from edgeadapt.scoring.suite import Suite
from edgeadapt_device.config import FlaggingSection
from edgeadapt_device.core.events import Image
from edgeadapt_device.core.flagging.decider import Decider
from edgeadapt_device.core.flagging.decision import Decision
from edgeadapt_device.io.engines import open_engine
from tests.device import rig


@pytest.fixture(scope="module")
def decider(tiny: Bundle) -> Decider:
    return Decider(tiny, FlaggingSection())


def outputs(tiny: Bundle, images: Image) -> Outputs:
    scores = open_engine(tiny, rig.config().engine).build({}).run(images, probe=False)
    return Outputs(scores.logits, scores.embedding)


def judge(decider: Decider, seen: Outputs, row: int, *, adapted: bool = True) -> Decision:
    assert seen.embedding is not None
    _, entropy = softmax_and_entropy(seen.logits[row])
    return decider.judge(
        seen.logits[row], seen.embedding[row], entropy, adapted=adapted, knots=decider.knots("", {})
    )


def test_a_frame_at_a_time_is_judged_as_the_suite_judges_a_batch(tiny: Bundle, decider: Decider) -> None:
    seen, suite = outputs(tiny, rig.frames(40)), Suite.of(tiny.calibration)
    p = suite.p_values(suite.score(seen))
    columns = [suite.names.index(name) for name in decider.names]
    expected = suite.combine(p[:, columns])

    found = [judge(decider, seen, row) for row in range(40)]

    assert decider.names
    np.testing.assert_allclose([d.p_values for d in found], p[:, columns], rtol=1e-4)
    np.testing.assert_allclose([d.p_value for d in found], expected, rtol=1e-3)


def test_known_frames_are_strange_as_often_as_alpha_says_and_noise_mostly(
    tiny: Bundle, decider: Decider
) -> None:
    known = outputs(tiny, rig.frames(400, seed=77))
    noise = np.random.default_rng(1).integers(0, 256, (60, 28, 28, 1)).astype(np.uint8)

    verdicts = [judge(decider, known, row).verdict for row in range(400)]
    odd = outputs(tiny, noise)
    strange = [judge(decider, odd, row) for row in range(60)]

    assert 0.0 < verdicts.count("unknown") / 400 < 0.12
    assert sum(d.verdict == "unknown" for d in strange) > 30
    assert all(d.p_value < 0.05 for d in strange if d.verdict == "unknown")


def test_what_is_strange_is_shifted_before_the_model_has_adapted_and_unknown_after(
    tiny: Bundle, decider: Decider
) -> None:
    seen = outputs(tiny, np.zeros((1, 28, 28, 1), np.uint8))
    before, after = judge(decider, seen, 0, adapted=False), judge(decider, seen, 0)

    assert (before.verdict, after.verdict) == ("shifted", "unknown")
    assert before.scores == after.scores
    assert "not adapted" in before.reason
    assert "has adapted" in after.reason


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_are_unreliable(decider: Decider, odd: float) -> None:
    logits = np.zeros(10, np.float32)
    logits[4] = odd
    found = decider.judge(logits, None, 2.3, adapted=True, knots=decider.knots("", {}))

    assert found.verdict == "unreliable"
    assert found.p_value == 0.0


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("scorers", ["all", "of logits"])
def test_an_embedding_that_is_not_finite_is_unreliable_whatever_scorers_there_are(
    tiny: Bundle, decider: Decider, odd: float, scorers: str
) -> None:
    """Finite logits beside it: scorers that take it see it, and so does a look where none does."""
    if scorers == "of logits":
        knots = {"energy": np.linspace(-1.0, 1.0, 64, dtype=np.float32)}
        energy = replace(tiny.calibration, scorers={"energy": {}}, knots=knots)
        decider = Decider(replace(tiny, calibration=energy), FlaggingSection())
        assert decider.names == ("energy",)
    logits, embedding = np.zeros(10, np.float32), np.ones(12, np.float32)
    embedding[3] = odd
    found = decider.judge(logits, embedding, 2.3, adapted=True, knots=decider.base)

    assert (found.verdict, found.p_value) == ("unreliable", 0.0)


def test_a_finite_embedding_of_any_size_is_judged(decider: Decider) -> None:
    """Sums and squares of it overflow float32."""
    logits, embedding = np.zeros(10, np.float32), np.full(12, 3e38, np.float32)
    found = decider.judge(logits, embedding, 2.3, adapted=True, knots=decider.base)

    assert found.verdict == "unknown"


def test_a_patchs_thresholds_hold_where_it_brings_some_and_the_bases_elsewhere(
    tiny: Bundle, decider: Decider
) -> None:
    """Knots below every score make all frames usual; a scorer that is not known here is left aside."""
    low = np.linspace(-3e38, -2e38, 64).astype(np.float32)
    own = {decider.names[0]: low, "from-the-future": low}
    patch = open_envelope(
        seal(rig.header(tiny), rig.harmless(tiny), rig.NO_SIGNATURE, rig.KEY, own),
        TrustedKeys([rig.KEY.public_key().public_bytes_raw()]),
    )
    knots, base = decider.knots(patch.digest, patch.thresholds), decider.knots("", {})

    assert knots.knots[0] == low.tolist()
    assert knots.knots[1:] == base.knots[1:]
    assert knots.bounds[0] < base.bounds[0]
    assert decider.knots(patch.digest, patch.thresholds) is knots


def test_a_bundle_without_scorers_leaves_the_entropy(tiny: Bundle) -> None:
    bare = replace(tiny, calibration=replace(tiny.calibration, scorers={}, knots={}))
    decider = Decider(bare, FlaggingSection(entropy_low=0.02, entropy_high=0.6))
    logits = np.zeros(10, np.float32)

    verdicts = [
        decider.judge(logits, None, entropy, adapted=True, knots=decider.knots("", {})).verdict
        for entropy in (0.0, 0.5, 2.3)
    ]

    assert decider.names == ()
    assert verdicts == ["familiar", "informative", "familiar"]


def test_only_the_scorers_that_are_named_decide_and_a_missing_one_is_told(tiny: Bundle) -> None:
    known = Decider(tiny, FlaggingSection()).names
    assert Decider(tiny, FlaggingSection(scorers=known[:1])).names == known[:1]
    with pytest.raises(ConfigError, match=r"no scorer 'nope'.*it has: " + known[0]):
        Decider(tiny, FlaggingSection(scorers=("nope",)))
