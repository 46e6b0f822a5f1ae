"""Single frames go to the patch whose domain they look like, when that is asked for."""

from __future__ import annotations

import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.digest import sha256_hex
from edgeadapt.tensors import FloatArray
from edgeadapt_device.config import DomainsSection
from edgeadapt_device.core.adapt.generations import Generations
from edgeadapt_device.core.adapt.warm import WarmSessions
from edgeadapt_device.core.effects import BuildGeneration, Effect, Release
from edgeadapt_device.core.events import GenerationFailed, Image
from edgeadapt_device.io.engines.onnx import OnnxEngine
from tests.device import rig
from tests.device.rig import Rig, sealed

DARK = 0.4
FRAMES = DomainsSection(routing="frame", match_frames=24)


def patched(bundle: Bundle, domains: DomainsSection = FRAMES) -> tuple[Rig, str]:
    """A device at home that remembers a confirmed patch for the dark; and the patch's name."""
    device = Rig(bundle, rig.config(domains=domains))
    device.play(rig.frames(100))
    device.play(rig.frames(80, seed=2, level=DARK))
    device.assign(segment=1)
    envelope = sealed(bundle, rig.harmless(bundle))
    device.publish(envelope)
    device.play(rig.frames(100, seed=3, level=DARK))
    device.play(rig.frames(120, seed=4))
    assert (device.device.view(device.now).segment, device.generation) == (2, "base")
    return device, sha256_hex(envelope)[:12]


def mixed(count: int, seed: int = 9) -> tuple[Image, FloatArray]:
    """Frames of which a fifth are dark, at random; and which."""
    images = rig.frames(count, seed=seed)
    dark = np.random.default_rng(seed).random(count) < 0.2
    images[dark] = (images[dark] * DARK).astype(np.uint8)
    return images, dark.astype(np.float32)


def test_frames_of_a_remembered_domain_are_scored_by_its_patch_and_the_others_by_what_runs(
    tiny: Bundle,
) -> None:
    device, name = patched(tiny)
    images, dark = mixed(200)
    answers = device.play(images)
    there = np.array([answer.generation == name for answer in answers])
    assert device.generation == "base", "the segment's own generation stays"
    assert there[dark > 0][3:].mean() > 0.9
    assert there[dark == 0].mean() < 0.05
    view = device.device.view(device.now)
    assert view.rerouted >= there.sum()
    assert view.warm_sessions == 1


def test_each_gets_the_answer_of_its_own_session(tiny: Bundle) -> None:
    device, name = patched(tiny)
    device.play(mixed(60)[0])
    routes = device.device.core.adaptation.routes
    sessions = device.device._performer.sessions
    for image in mixed(80, seed=10)[0]:
        base = device.device.core.adaptation.switching.generations.running
        assert base is not None
        expected = {
            "base": sessions[base.token].run(image[None], probe=False).logits,
            name: sessions[next(iter(routes.warm._tokens.values()))].run(image[None], probe=False).logits,
        }
        (answer,) = device.play(image[None])
        logits = expected[answer.generation][0].astype(np.float64)
        wanted = np.exp(logits - logits.max())
        np.testing.assert_allclose(answer.probabilities, wanted / wanted.sum(), atol=1e-5)


def test_by_default_nothing_is_routed_and_nothing_kept(tiny: Bundle) -> None:
    device, _ = patched(tiny, DomainsSection(match_frames=24))
    answers = device.play(mixed(100)[0])
    assert {answer.generation for answer in answers} == {"base"}
    assert not device.device.core.routes_frames
    view = device.device.view(device.now)
    assert (view.rerouted, view.warm_sessions) == (0, 0)


def test_the_running_statistics_learn_from_their_own_frames_alone(tiny: Bundle) -> None:
    device, _ = patched(tiny)
    device.play(mixed(40)[0])
    calibration = tiny.calibration

    def away(mean: FloatArray) -> float:
        first = slice(0, tiny.manifest.norm_layers[0].channels)
        step = (mean - calibration.norm_mean)[first] / np.sqrt(calibration.norm_var[first])
        return float(np.sqrt(np.mean(step**2)))

    device.play(mixed(300, seed=11)[0])
    plain, _ = patched(tiny, DomainsSection(match_frames=24))
    plain.play(mixed(40)[0])
    plain.play(mixed(300, seed=11)[0])
    routed = away(device.device.core.adaptation.statistics.current[0])
    assert routed < 0.6 * away(plain.device.core.adaptation.statistics.current[0])


def test_a_batch_is_taken_apart_and_put_together_again(tiny: Bundle) -> None:
    device, name = patched(tiny)
    device.play(mixed(60)[0])
    images, dark = mixed(32, seed=12)
    scoring = device.device
    core, sessions = scoring.core, scoring._performer.sessions
    from edgeadapt_device.scored import score

    scored = score(sessions, core.plan(), 0, images, core.route)
    names = [core.adaptation.switching.generations.patch_of(event.token) or "base" for event in scored.events]
    assert {n[:12] for n, d in zip(names, dark, strict=True) if d} == {name}
    for number, event in enumerate(scored.events):
        alone = sessions[event.token].run(images[number : number + 1], probe=False)
        np.testing.assert_allclose(scored.scores.logits[number], alone.logits[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(event.logits, alone.logits[0], rtol=1e-4, atol=1e-5)


def test_a_patch_that_is_blocked_takes_no_more_frames_and_its_session_goes(tiny: Bundle) -> None:
    device, name = patched(tiny)
    device.play(mixed(60)[0])
    adaptation = device.device.core.adaptation
    (entry,) = adaptation.patches.bank.entries()
    sessions = len(device.device._performer.sessions)
    adaptation.patches.block(entry.patch.digest)
    answers = device.play(mixed(60, seed=13)[0])
    assert name not in {answer.generation for answer in answers[1:]}
    assert len(device.device._performer.sessions) == sessions - 1


def test_frames_that_went_elsewhere_teach_the_segments_cohort_nothing(tiny: Bundle) -> None:
    """They are uploaded at the rate of a device at home."""
    device, name = patched(tiny)
    answers = device.play(mixed(100)[0])
    core = device.device.core
    token = next(iter(core.adaptation.routes.warm._tokens.values()))
    assert core.adaptation.routes.is_elsewhere(token)
    assert name in {answer.generation for answer in answers}


# The cache


def _cache(most: int = 2) -> tuple[Generations, WarmSessions]:
    generations = Generations()
    return generations, WarmSessions(generations, most)


def _built(warm: WarmSessions, digest: str) -> list[Effect]:
    (build,) = warm.ask(digest, dict)
    assert isinstance(build, BuildGeneration)
    effects = warm.ready(build.token)
    assert effects is not None
    return effects


def test_the_least_recently_used_session_goes_when_room_is_short() -> None:
    generations, warm = _cache()
    assert _built(warm, "a") == []
    assert _built(warm, "b") == []
    kept = warm.token("a")
    gone = warm._tokens["b"]
    assert _built(warm, "c") == [Release(gone)]
    assert (warm.token("a"), warm.token("b")) == (kept, None)
    assert generations.patch_of(gone) is None
    assert kept is not None
    assert generations.patch_of(kept) == "a"
    assert len(warm) == 2


def test_one_build_at_a_time_and_what_cannot_be_built_is_not_tried_again() -> None:
    _, warm = _cache()
    (build,) = warm.ask("a", dict)
    assert warm.ask("b", dict) == []
    assert isinstance(build, BuildGeneration)
    assert warm.failed(build.token)
    assert not warm.failed(build.token)
    assert warm.ask("a", dict) == []
    assert warm.ask("b", dict)
    warm.keep(lambda digest: False)
    assert warm.token("a") is None


def test_a_switch_comes_first() -> None:
    generations, warm = _cache()
    generations.request("p", {})
    assert warm.ask("a", dict) == []


def test_a_session_that_cannot_be_built_leaves_the_frames_to_what_runs(tiny: Bundle) -> None:
    device, name = patched(tiny)
    real = OnnxEngine.build
    with pytest.MonkeyPatch.context() as patch:

        def refuses(engine: OnnxEngine, values: dict[str, FloatArray]) -> object:
            if "norm2.bias" in values and values["norm2.bias"].max() != tiny.base_slots()["norm2.bias"].max():
                raise MemoryError("no room")
            return real(engine, values)

        patch.setattr(OnnxEngine, "build", refuses)
        with pytest.raises(MemoryError):
            device.play(mixed(60)[0])
    core = device.device.core
    building = core.adaptation.routes.warm._building
    assert building is not None
    device.device._handle(GenerationFailed(building[1], "no room"), device.now)
    answers = device.play(mixed(60, seed=13)[0])
    assert name not in {answer.generation for answer in answers}
    assert any("no session can be kept" in line for line in device.device.log)


@pytest.mark.parametrize(
    ("changes", "enabled"),
    [({}, True), ({"warm_sessions": 0}, False), ({"warm_bytes": 10}, False), ({"routing": "segment"}, False)],
)
def test_sessions_are_limited_in_number_and_in_memory(
    tiny: Bundle, changes: dict[str, int | str], enabled: bool
) -> None:
    domains = DomainsSection(**{"routing": "frame", **changes})  # type: ignore[arg-type]
    device = Rig(tiny, rig.config(domains=domains))
    assert device.device.core.routes_frames is enabled
