"""The study of the uplink: domains x seeds x policies on worker processes, one thread each.

A piece is one policy in one domain of one seed, at every byte budget; or the lines of reference there. What
devices offer is recorded once per worker, domain and seed, and shared by its pieces; whichever worker records
it, it is the same.
"""

from __future__ import annotations

import functools
import multiprocessing
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from edgeadapt.bundle import Bundle, read_folder
from edgeadapt_models.compile import compile_pretrained
from edgeadapt_models.data import load
from edgeadapt_sim.bench.uplink import policies
from edgeadapt_sim.bench.uplink.classroom import Classroom, Proposal
from edgeadapt_sim.bench.uplink.field import Field
from edgeadapt_sim.bench.uplink.plan import Domain, UplinkPlan
from edgeadapt_sim.bench.uplink.recording import Recording, record
from edgeadapt_sim.bench.uplink.replay import LINK_BYTES, Sizes, Upload, payload_sizes, replay
from edgeadapt_sim.bench.uplink.streams import UNKNOWN, Frames, Images, Truth, make_frames, unknown_pictures
from edgeadapt_sim.bench.uplink.teacher import teacher_accuracy

REFERENCE = ""  # the piece with the lines of reference


class Point(msgspec.Struct, frozen=True):
    """One policy in one domain under one budget; accuracies and shares are 0 to 1.

    Attributes:
        domain: as planned.
        seed: of the stream.
        policy: as planned.
        share: the budget, as a share of what the whole stream would cost.
        budget_bytes: the same in bytes.
        sent_bytes: what was spent, overhead included.
        lanes: bytes by lane.
        uploads: samples sent.
        taught: of them, those that the cloud learns from (all lanes but "ask").
        unknown: share of frames of no known class among all uploads.
        unknown_taught: the same among those that the cloud learns from.
        classes: effective number of known classes among these, exp of the entropy of their shares.
        candidate: accuracy under the candidate patch with the device's own statistics; mean over draws.
        let_out: the same where the gate says yes, else that of own statistics alone.
        published: share of draws in which the gate said yes.
        failed: the gate's checks that failed, with how often.
        reestimated: accuracy of the base with statistics from the uploads alone.
    """

    domain: str
    seed: int
    policy: str
    share: float
    budget_bytes: int
    sent_bytes: int
    lanes: dict[str, int]
    uploads: int
    taught: int
    unknown: float
    unknown_taught: float
    classes: float
    candidate: float
    let_out: float
    published: float
    failed: dict[str, int]
    reestimated: float


class Reference(msgspec.Struct, frozen=True):
    """What a domain's points are held against; accuracies 0 to 1.

    Attributes:
        domain: as planned.
        seed: of the stream.
        stream_bytes: what all of its frames would cost.
        frozen: the base.
        own: own statistics only: what a device reaches without a cloud.
        teacher: the teacher, settled on frames of the stream.
        everything: taught with the whole stream; None where that was not planned, and but for the first seed.
    """

    domain: str
    seed: int
    stream_bytes: int
    frozen: float
    own: float
    teacher: float
    everything: float | None


class Study(msgspec.Struct, frozen=True):
    """The result; `skipped` says which domains could not be measured, and why."""

    points: tuple[Point, ...]
    references: tuple[Reference, ...]
    skipped: tuple[str, ...]


def possible(plan: UplinkPlan) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(Domains that can be measured here, sentences about those that cannot)."""
    if unknown_pictures():
        return plan.domains, ()
    missing = tuple(domain for domain in plan.domains if Domain.parse(domain).unknown)
    why = "no pictures of unknown classes: let EDGEADAPT_CIFAR10 name the folder that holds CIFAR-10"
    return (
        tuple(domain for domain in plan.domains if domain not in missing),
        tuple(f"{domain} was skipped: {why}" for domain in missing),
    )


Piece = tuple[str, int, str]
Results = Mapping[Piece, tuple[Point, ...] | Reference]


def pieces(plan: UplinkPlan) -> list[Piece]:
    """(domain, seed, policy) triples; those that share a recording follow each other."""
    return [
        (domain, seed, policy)
        for seed in range(plan.seeds)
        for domain in possible(plan)[0]
        for policy in (REFERENCE, *plan.policies)
    ]


def measured(earlier: Study) -> Results:
    """The pieces of a study, as `run_study` takes those that it need not measure again."""
    found: dict[Piece, tuple[Point, ...] | Reference] = {
        (reference.domain, reference.seed, REFERENCE): reference for reference in earlier.references
    }
    for point in earlier.points:
        before = found.get((point.domain, point.seed, point.policy), ())
        assert not isinstance(before, Reference)
        found[point.domain, point.seed, point.policy] = (*before, point)
    return found


def run_study(
    plan: UplinkPlan,
    on_done: Callable[[str], None],
    limit_s: float | None = None,
    earlier: Results | None = None,
) -> Study:
    """Run everything; `on_done` is told, in words, of every piece that is finished.

    Args:
        plan: what to measure.
        on_done: called in this process.
        limit_s: begin no piece after so long; streams that not every policy has met by then are left out.
        earlier: pieces of an earlier run of the same plan, taken as they are.

    Raises:
        ConfigError: weights, data set or policy are not there.
    """
    for name in plan.policies:
        policies.POLICIES.get(name)
    ends_s = None if limit_s is None else time.monotonic() + limit_s
    found = dict(earlier or {})
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="edgeadapt-bench-") as scratch:
        folder = Path(scratch) / "bundle"
        compile_pretrained(plan.student, folder)
        with ProcessPoolExecutor(plan.workers, mp_context=context, initializer=_one_thread) as pool:
            futures = {
                pool.submit(run_piece, plan, folder, *piece): piece
                for piece in pieces(plan)
                if piece not in found
            }
            try:
                for future in as_completed(futures):
                    if future.cancelled():
                        continue
                    domain, seed, policy = futures[future]
                    found[domain, seed, policy] = future.result()
                    on_done(f"{domain}, seed {seed}: {policy or 'references'}")
                    if ends_s is not None and time.monotonic() >= ends_s:
                        _cancel(futures)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return collected(plan, found)


def _cancel(futures: Iterable[Future[tuple[Point, ...] | Reference]]) -> None:
    """What has begun is finished; nothing else begins."""
    for future in futures:
        future.cancel()


def collected(plan: UplinkPlan, found: Results) -> Study:
    """The study of those streams whose every piece was found: policies are compared on the same ones."""
    planned = pieces(plan)
    left_out = {piece[:2] for piece in planned if piece not in found}
    results = [found[piece] for piece in planned if piece[:2] not in left_out]
    references = [result for result in results if isinstance(result, Reference)]
    references.sort(key=lambda row: (plan.domains.index(row.domain), row.seed))
    points = [point for result in results if not isinstance(result, Reference) for point in result]
    late = [f"{domain}, seed {seed} was left out: time ran out" for domain, seed in sorted(left_out)]
    return Study(tuple(points), tuple(references), (*possible(plan)[1], *late))


def run_piece(
    plan: UplinkPlan, folder: Path, domain: str, seed: int, policy: str
) -> tuple[Point, ...] | Reference:
    """What a worker does: one policy at all budgets, or the references."""
    room, bundle = _room(plan, folder)
    cohort = _cohort(plan, folder, domain, seed)
    if policy == REFERENCE:
        return _reference(plan, bundle, room, cohort)
    return tuple(_point(plan, room, cohort, policy, share) for share in plan.shares)


@dataclass(frozen=True, slots=True)
class _Cohort:
    """One domain and seed, recorded; `own` is the accuracy of own statistics alone."""

    domain: str
    seed: int
    frames: Frames
    truth: Truth
    recording: Recording
    sizes: tuple[Sizes, ...]
    field: Field
    own: float


@functools.lru_cache(maxsize=1)
def _room(plan: UplinkPlan, folder: Path) -> tuple[Classroom, Bundle]:
    bundle = read_folder(folder)
    return Classroom(plan, load(plan.dataset), bundle), bundle


@functools.lru_cache(maxsize=1)
def _cohort(plan: UplinkPlan, folder: Path, domain: str, seed: int) -> _Cohort:
    _, bundle = _room(plan, folder)
    frames, truth = make_frames(plan, Domain.parse(domain), seed)
    recording = record(bundle, frames, seed)
    field = Field(bundle, plan.student, frames.stream, frames.held_out, truth.held_out)
    sizes = tuple(payload_sizes(offered) for offered in recording.devices)
    return _Cohort(domain, seed, frames, truth, recording, sizes, field, field.deployed({}))


def _reference(plan: UplinkPlan, bundle: Bundle, room: Classroom, cohort: _Cohort) -> Reference:
    everything = None
    if plan.everything and not cohort.seed:
        lanes = ["audit"] * plan.frames
        taught = room.teach(cohort.frames.stream, lanes, cohort.recording.statistics, seed=cohort.seed)
        everything = cohort.field.deployed(taught.values)
    return Reference(
        cohort.domain,
        cohort.seed,
        sum(int((sizes + LINK_BYTES).sum()) for sizes in cohort.sizes),
        cohort.field.frozen(),
        cohort.own,
        teacher_accuracy(plan.teacher, cohort.frames, cohort.truth.held_out),
        everything,
    )


def _point(plan: UplinkPlan, room: Classroom, cohort: _Cohort, policy: str, share: float) -> Point:
    choose = policies.POLICIES.get(policy)
    sent = [
        (upload.frame, number, upload)
        for number, (offered, sizes) in enumerate(zip(cohort.recording.devices, cohort.sizes, strict=True))
        for upload in replay(offered, sizes, choose, share, [cohort.seed, number])
    ]
    sent.sort(key=lambda entry: entry[:2])  # as they arrive: devices run side by side
    uploads = [upload for _, _, upload in sent]
    labels = np.array([cohort.truth.stream[cohort.frames.parts[n].start + at] for at, n, _ in sent], np.int64)
    learned = np.array([upload.lane != "ask" for upload in uploads], dtype=bool)
    taught = [upload for upload in uploads if upload.lane != "ask"]
    proposals = [_teach(room, cohort, taught, cohort.seed + plan.seeds * draw) for draw in range(plan.draws)]
    candidates = [cohort.field.deployed(proposal.values) for proposal in proposals]
    let_out = [
        cohort.own if proposal.failed else accuracy
        for proposal, accuracy in zip(proposals, candidates, strict=True)
    ]
    lanes: Counter[str] = Counter()
    for upload in uploads:
        lanes[upload.lane] += upload.size_bytes
    known = labels[learned & (labels != UNKNOWN)]
    return Point(
        domain=cohort.domain,
        seed=cohort.seed,
        policy=policy,
        share=share,
        budget_bytes=round(share * sum(int((sizes + LINK_BYTES).sum()) for sizes in cohort.sizes)),
        sent_bytes=sum(upload.size_bytes for upload in uploads),
        lanes=dict(lanes),
        uploads=len(uploads),
        taught=len(taught),
        unknown=_mean(labels == UNKNOWN),
        unknown_taught=_mean(labels[learned] == UNKNOWN),
        classes=_effective(np.bincount(known)) if len(known) else 0.0,
        candidate=float(np.mean(candidates)),
        let_out=float(np.mean(let_out)),
        published=float(np.mean([not proposal.failed for proposal in proposals])),
        failed=dict(Counter(check for proposal in proposals for check in proposal.failed)),
        reestimated=cohort.field.reestimated(_images(taught)) if len(taught) > 1 else cohort.field.frozen(),
    )


def _teach(room: Classroom, cohort: _Cohort, taught: Sequence[Upload], seed: int) -> Proposal:
    if not taught:
        return Proposal({}, ("samples",))
    lanes = [upload.lane for upload in taught]
    return room.teach(_images(taught), lanes, cohort.recording.statistics, seed=seed)


def _images(uploads: Sequence[Upload]) -> Images:
    return np.stack([np.asarray(upload.image, dtype=np.uint8) for upload in uploads])


def _mean(found: npt.NDArray[np.bool_]) -> float:
    return float(found.mean()) if len(found) else 0.0


def _effective(counts: npt.NDArray[np.int64]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
