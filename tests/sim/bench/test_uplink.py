"""The study of the uplink: a small piece of it, what its parts promise, and what is claimed of its points."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console

from edgeadapt.bundle import read_folder
from edgeadapt.errors import ConfigError
from edgeadapt_models.compile import compile_pretrained
from edgeadapt_sim.bench.uplink import streams
from edgeadapt_sim.bench.uplink.figures import claims, curves, gaps
from edgeadapt_sim.bench.uplink.output import read, show, write
from edgeadapt_sim.bench.uplink.plan import OURS, QUICK, Domain, UplinkPlan
from edgeadapt_sim.bench.uplink.policies import POLICIES
from edgeadapt_sim.bench.uplink.recording import Recording, record
from edgeadapt_sim.bench.uplink.replay import LINK_BYTES, Upload, payload_sizes, replay
from edgeadapt_sim.bench.uplink.streams import UNKNOWN, make_frames
from edgeadapt_sim.bench.uplink.study import (
    Point,
    Reference,
    Study,
    collected,
    measured,
    pieces,
    possible,
    run_piece,
    run_study,
)

PLAN = replace(QUICK, frames=800, devices=1, held_out=200, steps=6, source_holdout=200, shares=(0.1,))
DOMAIN = "contrast:5"
SHARE = 0.1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench-uplink") / "bundle"
    compile_pretrained(PLAN.student, folder)
    return folder


@pytest.fixture(scope="module")
def recording(folder: Path) -> Recording:
    frames, _ = make_frames(PLAN, Domain.parse(DOMAIN), 0)
    return record(read_folder(folder), frames, 0)


def sent(recording: Recording, policy: str, share: float = SHARE) -> list[tuple[Upload, ...]]:
    return [
        replay(offered, payload_sizes(offered), POLICIES.get(policy), share, [0, number])
        for number, offered in enumerate(recording.devices)
    ]


def test_a_piece_measures_one_policy_at_every_budget(folder: Path) -> None:
    points = run_piece(PLAN, folder, DOMAIN, 0, "ours")
    assert isinstance(points, tuple)
    (point,) = points
    reference = run_piece(PLAN, folder, DOMAIN, 0, "")
    assert isinstance(reference, Reference)
    assert reference.frozen + 0.2 < reference.own < reference.teacher
    assert point.candidate > reference.frozen + 0.2
    assert 0.85 * point.budget_bytes < point.sent_bytes <= 1.01 * point.budget_bytes
    assert point.budget_bytes == round(SHARE * reference.stream_bytes)
    assert sum(point.lanes.values()) == point.sent_bytes
    assert 0 < point.taught <= point.uploads
    assert 5.0 < point.classes <= 10.0
    # The gate wants more samples than these: its answer counts, and the candidate was measured all the same.
    assert point.failed["samples"] == 1
    assert (point.published, point.let_out) == (0.0, reference.own)


def test_held_out_frames_and_labels_stay_out_of_the_stream() -> None:
    frames, truth = make_frames(replace(PLAN, frames=1600), Domain.parse("clean"), 1)
    shown = {image.tobytes() for image in frames.stream}
    assert not any(image.tobytes() in shown for image in frames.held_out)
    assert (len(truth.stream), len(truth.held_out)) == (1600, PLAN.held_out)
    again, _ = make_frames(replace(PLAN, frames=1600), Domain.parse("clean"), 1)
    np.testing.assert_array_equal(frames.stream, again.stream)


def test_runs_show_a_class_for_a_while_and_the_same_frames() -> None:
    plain, labels = make_frames(PLAN, Domain.parse("clean"), 0)
    runs, sorted_labels = make_frames(PLAN, Domain.parse("clean+runs"), 0)
    for part in runs.parts:
        assert sorted(labels.stream[part]) == sorted(sorted_labels.stream[part])
        changes = np.count_nonzero(np.diff(sorted_labels.stream[part]))
        assert changes < len(labels.stream[part]) / 20
        assert np.count_nonzero(np.diff(labels.stream[part])) > len(labels.stream[part]) / 2
    assert len(plain.stream) == len(runs.stream)


def test_a_fifth_of_a_mixed_stream_is_of_no_known_class(monkeypatch: pytest.MonkeyPatch) -> None:
    strange = np.full((300, 28, 28, 1), 77, np.uint8)
    monkeypatch.setattr(streams, "_grey", lambda shape: strange)
    frames, truth = make_frames(PLAN, Domain.parse("clean+unknown"), 0)
    mixed = truth.stream == UNKNOWN
    assert np.count_nonzero(mixed) == 160
    assert (frames.stream[mixed] == 77).all()
    assert UNKNOWN not in truth.held_out
    assert 0.1 < mixed[:400].mean() < 0.3


@pytest.mark.parametrize("policy", POLICIES.names())
def test_every_policy_spends_what_it_may_and_no_more(recording: Recording, policy: str) -> None:
    for offered, uploads in zip(recording.devices, sent(recording, policy), strict=True):
        whole = SHARE * float((payload_sizes(offered) + LINK_BYTES).sum())
        assert 0.8 * whole < sum(upload.size_bytes for upload in uploads) <= 1.01 * whole
        places = [upload.frame for upload in uploads]
        assert len(set(places)) == len(places)
        for upload in uploads:
            np.testing.assert_array_equal(upload.image, offered.frames[upload.frame].image)


@pytest.mark.parametrize("policy", POLICIES.names())
def test_no_policy_looks_ahead(recording: Recording, policy: str) -> None:
    """What it has sent by the middle does not depend on what comes after."""
    offered = recording.devices[0]
    choice, sizes = POLICIES.get(policy), payload_sizes(offered)
    middle = len(offered.frames) // 2
    other = msgspec.structs.replace(offered.frames[0], embedding=-np.asarray(offered.frames[0].embedding))
    later = tuple(msgspec.structs.replace(other, index=place) for place in range(middle, len(offered.frames)))
    changed = replace(offered, frames=offered.frames[:middle] + later)
    first, second = (
        [upload.frame for upload in replay(part, sizes, choice, SHARE, [0, 0]) if upload.frame < middle - 128]
        for part in (offered, changed)
    )
    assert first
    assert second == first


def test_baselines_choose_as_they_say(recording: Recording) -> None:
    entropies = {
        policy: np.mean(
            [
                offered.frames[upload.frame].entropy
                for offered, uploads in zip(recording.devices, sent(recording, policy), strict=True)
                for upload in uploads
            ]
        )
        for policy in ("uniform", "top-entropy")
    }
    assert entropies["top-entropy"] > entropies["uniform"] + 0.3


@pytest.mark.parametrize("policy", POLICIES.names())
def test_the_cloud_learns_from_the_same_share_of_every_baseline(recording: Recording, policy: str) -> None:
    """It keeps more of the audit lane unseen, which only ours has; and ours does not let it take over."""
    lanes = [upload.lane for uploads in sent(recording, policy) for upload in uploads]
    if policy == OURS:
        assert 0 < lanes.count("audit") < 0.35 * len(lanes)
    else:
        assert set(lanes) == {"adapt"}


def test_a_shift_that_statistics_do_not_cure_makes_nothing_unknown(recording: Recording) -> None:
    """Before a patch it is the domain that is strange: all of its frames may be learned from."""
    verdicts = [frame.decision.verdict for offered in recording.devices for frame in offered.frames]
    assert verdicts.count("shifted") > 0.3 * len(verdicts)
    assert verdicts.count("unknown") < 0.05 * len(verdicts)


def point(
    policy: str, candidate: float, *, share: float = 0.02, seed: int = 0, domain: str = DOMAIN
) -> Point:
    return Point(
        domain=domain, seed=seed, policy=policy, share=share, budget_bytes=100, sent_bytes=99,
        lanes={"adapt": 99}, uploads=9, taught=9, unknown=0.2,
        unknown_taught=0.1 if policy == "ours" else 0.2,
        classes=9.0, candidate=candidate, let_out=candidate, published=1.0, failed={}, reestimated=0.5,
    )  # fmt: skip


POINTS = (
    point("uniform", 0.70), point("ours", 0.72), point("uniform", 0.71, seed=1), point("ours", 0.71, seed=1),
    point("uniform", 0.73, share=0.05, domain="fog:5+unknown"),
    point("ours", 0.72, share=0.05, domain="fog:5+unknown"),
)  # fmt: skip
REFERENCES = (
    Reference(DOMAIN, 0, 5000, 0.2, 0.715, 0.9, None),
    Reference(DOMAIN, 1, 5000, 0.2, 0.74, 0.9, None),
)


def test_claims_compare_pair_by_pair() -> None:
    at_two, at_five, harm, unknown = claims(POINTS, REFERENCES)
    assert at_two.holds is True
    assert "+1.0 (-11.7 to +13.7) points against uniform, may be chance; pairs: 2" in at_two.figures
    assert at_five.holds is False
    assert harm.holds is False
    assert "the worst -3.0 points (contrast:5, 2%)" in harm.figures
    assert unknown.holds is True
    assert claims(POINTS[:1], ())[0].holds is None
    gap = next(gap for gap in gaps(POINTS) if gap.measure == "candidate" and gap.share == 0.02)
    assert gap.difference == pytest.approx(0.01)
    # Student's t with one degree of freedom: 12.706 standard errors.
    assert (gap.low, gap.high) == pytest.approx((0.01 - 0.12706, 0.01 + 0.12706), abs=1e-4)
    assert not gap.certain
    assert next(curve for curve in curves(POINTS) if curve.policy == "ours").spread > 0.0


def test_a_difference_that_all_pairs_show_is_certain() -> None:
    streams = [
        (point("uniform", 0.6 + 0.01 * seed, seed=seed), point("ours", 0.62 + 0.011 * seed, seed=seed))
        for seed in range(4)
    ]
    (gap,) = (gap for gap in gaps([p for pair in streams for p in pair]) if gap.measure == "candidate")
    assert gap.certain
    assert gap.low == pytest.approx(0.0215 - 3.182 * np.std([0, 1, 2, 3], ddof=1) * 0.001 / 2, abs=1e-6)


def test_streams_that_not_every_policy_has_met_are_left_out() -> None:
    plan = replace(PLAN, seeds=2, policies=("uniform", "ours"), domains=(DOMAIN,))
    found: dict[tuple[str, int, str], tuple[Point, ...] | Reference] = {
        (DOMAIN, p.seed, p.policy): (p,) for p in POINTS[:4]
    }
    found |= {(DOMAIN, row.seed, ""): row for row in REFERENCES}
    assert collected(plan, found) == Study(POINTS[:4], REFERENCES, ())
    del found[DOMAIN, 1, "ours"]
    left = collected(plan, found)
    assert (left.points, left.references) == (POINTS[:2], REFERENCES[:1])
    assert left.skipped == (f"{DOMAIN}, seed 1 was left out: time ran out",)


def test_a_study_out_of_time_begins_no_more() -> None:
    """When the first is done, at most two more are under way in one worker: of six, some never begin."""
    done: list[str] = []
    plan = replace(PLAN, frames=256, held_out=100, source_holdout=100, steps=1, policies=QUICK.policies)
    study = run_study(plan, done.append, limit_s=0.0)
    assert 1 <= len(done) <= 4
    assert study.points == ()
    assert study.skipped == (f"{DOMAIN}, seed 0 was left out: time ran out",)


def test_a_study_goes_on_from_what_an_earlier_run_left(tmp_path: Path) -> None:
    """Every piece of the plan is in the file, so nothing is measured, and nothing reported as done."""
    plan = replace(PLAN, policies=("uniform", "ours"))
    write(Study(POINTS[:2], REFERENCES[:1], ("seed 1 was left out",)), plan, 10.0, tmp_path)
    earlier = read(tmp_path / "uplink.json", replace(plan, seeds=2))
    done: list[str] = []
    study = run_study(plan, done.append, earlier=measured(earlier.study))
    assert study == Study(POINTS[:2], REFERENCES[:1], ())
    assert done == []
    write(study, plan, 5.0, tmp_path / "more", earlier)
    again = json.loads((tmp_path / "more" / "uplink.json").read_text())
    assert again["seconds"] == 15.0
    assert again["earlier"] == [earlier.date]


def test_only_the_same_study_can_be_gone_on_with(tmp_path: Path) -> None:
    write(Study(POINTS, REFERENCES, ()), PLAN, 1.0, tmp_path)
    with pytest.raises(ConfigError, match="frames was 800, not 900"):
        read(tmp_path / "uplink.json", replace(PLAN, frames=900))
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ConfigError, match="not a result of this study"):
        read(tmp_path / "other.json", PLAN)


def test_what_is_left(tmp_path: Path) -> None:
    study = Study(POINTS, REFERENCES, ("fog:5+unknown was skipped: why",))
    write(study, PLAN, 12.5, tmp_path / "out")
    document = json.loads((tmp_path / "out" / "uplink.json").read_text())
    assert document["study"]["points"][1]["candidate"] == 0.72
    assert document["arguments"]["frames"] == 800
    assert (tmp_path / "out" / "uplink.png").stat().st_size > 10_000
    text = io.StringIO()
    show(study, Console(file=text, width=160))
    assert "MISSED: ours is at or above every other policy at 5 %" in text.getvalue()
    assert "71.5 ± 0.7" in text.getvalue()
    assert "+1.0 (-11.7 to +13.7)" in text.getvalue()
    assert "fog:5+unknown was skipped: why" in text.getvalue()


def test_without_pictures_of_unknown_classes_those_domains_are_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgeadapt_sim.bench.uplink.study.unknown_pictures", lambda: False)
    plan = UplinkPlan(domains=("fog:5", "fog:5+unknown"), seeds=1, policies=("ours",))
    assert pieces(plan) == [("fog:5", 0, ""), ("fog:5", 0, "ours")]
    assert "EDGEADAPT_CIFAR10" in possible(plan)[1][0]


def test_plans_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"known: unknown, runs"):
        UplinkPlan(domains=("fog:5+dark",))
    with pytest.raises(ConfigError, match="one corruption at one severity"):
        UplinkPlan(domains=("fog:1-5",))
    with pytest.raises(ConfigError, match="above 0, at most 1"):
        UplinkPlan(shares=(2.0,))
    with pytest.raises(ConfigError, match="has 10000 test images"):
        make_frames(UplinkPlan(frames=9000), Domain.parse("clean"), 0)
