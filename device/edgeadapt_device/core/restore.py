"""From the core's live parts to a `DeviceState`, and back after a restart.

Envelopes are verified again on the way back: a state folder is not trusted more than the network. A
trial that was cut off, even while its patch was being built, is reverted and reported, and its patch
blocked, since it may be what ended the process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgeadapt.bundle.bundle import Bundle
from edgeadapt.bundle.manifest import Artifact
from edgeadapt.errors import TrustError, WireError
from edgeadapt.patch import TrustedKeys, check_fit, open_envelope
from edgeadapt.signature import Signature
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import Outcome, pack_vector, unpack_vector
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.core.adapt import outcomes
from edgeadapt_device.core.adapt.adaptation import Adaptation
from edgeadapt_device.core.adapt.domains import BankEntry, PatchBank
from edgeadapt_device.core.adapt.running import Running, Statistics
from edgeadapt_device.core.downlink.intake import artifact_that_runs, is_sound
from edgeadapt_device.core.downlink.told import Told
from edgeadapt_device.core.state import BankRecord, BudgetRecord, ClusterRecord, DeviceState, TrialRecord

#: After so many starts in a row that did not come to score frames, what ran is not tried again.
MOST_FAILED_STARTS = 3


@dataclass(frozen=True, slots=True)
class Restored:
    """What a core starts from.

    `outcomes` tell the cloud, and `notes` a person, what was not taken over; `recovered` says that, and
    why, the base runs in place of what ran before.
    """

    adaptation: Adaptation
    running: Running
    epoch: int
    frames: int
    told: Told
    budget: BudgetRecord | None
    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...]
    recovered: str = ""
    clusters: tuple[ClusterRecord, ...] = ()


def restore(
    bundle: Bundle,
    config: DeviceConfig,
    trusted: TrustedKeys,
    state: DeviceState | None,
    envelopes: Mapping[str, bytes],
    *,
    rng: np.random.Generator,
    failed_starts: int = 0,
) -> Restored:
    """Rebuild the parts of a core; a state of another bundle keeps only its epoch and segment."""
    bank = PatchBank(bundle.calibration, config.domains.bank_bytes)
    if state is None or state.bundle != bundle.digest:
        segment, epoch = (state.segment + 1, state.epoch + 1) if state is not None else (0, 1)
        notes = ("the bundle has changed: starting from its base",) if state is not None else ()
        adaptation = Adaptation(bundle, config, bank, segment, None, rng=rng)
        return Restored(adaptation, adaptation.switching.base, epoch, 0, Told(), None, (), notes)
    found: list[str] = []
    runs = artifact_that_runs(bundle, config.engine)
    # A patch cut off on trial is not taken back: it would push out the one of its cohort that ran before it.
    tried = state.trial.digest if state.trial is not None else None
    for record in (r for r in state.bank if r.digest != tried):
        entry = _entry(bundle, runs, trusted, record, envelopes.get(record.digest), found)
        if entry is not None:
            bank.restore(entry)
    reference = _vector(state.reference, len(bundle.calibration.signature_mean))
    signature = Signature(reference, state.reference_frames) if reference is not None else None
    adaptation = Adaptation(bundle, config, bank, state.segment, signature, rng=rng)
    adaptation.patches.blocked.extend(state.blocked)
    adaptation.patches.told = any(a.segment == state.segment for a in state.assignments)
    reports: list[Outcome] = []
    if state.trial is not None:
        reports.append(outcomes.of_cut_off(state.trial))
        adaptation.patches.block(state.trial.digest, _values(trusted, envelopes.get(state.trial.digest)))
    running = _running(bundle, adaptation, state, found)
    recovered = ""
    if failed_starts >= MOST_FAILED_STARTS:
        recovered = f"{failed_starts} starts in a row did not come to score frames"
        found.append(f"{recovered}: starting from the base, without own statistics")
        reports += _give_up(adaptation, running, recovered)
        running = adaptation.switching.base
    return Restored(
        adaptation,
        running,
        state.epoch + 1,
        state.frames,
        _told(state, adaptation),
        state.budget,
        tuple(reports),
        tuple(found),
        recovered,
        state.clusters,
    )


def _running(bundle: Bundle, adaptation: Adaptation, state: DeviceState, notes: list[str]) -> Running:
    """What ran before, or the base where that is lost."""
    base, entry = adaptation.switching.base, adaptation.patches.bank.by_digest(state.patch)
    if state.patch and entry is None:
        notes.append("the running patch could not be restored: starting from the base")
        return base
    return Running(entry, _statistics(bundle, state.mean, state.var) or base.statistics)


def _give_up(adaptation: Adaptation, running: Running, reason: str) -> list[Outcome]:
    """What ran may be what ends the process: it does not run again."""
    entry = running.entry
    if entry is None or not entry.patch.values:
        return []
    adaptation.patches.block(entry.patch.digest, entry.patch.values)
    return [outcomes.of_rollback(entry, reason)]


def _told(state: DeviceState, adaptation: Adaptation) -> Told:
    return Told(
        serials=state.serials,
        assignments=tuple(a for a in state.assignments if is_sound(a.cohort, a.segment)),
        blocked=tuple(adaptation.patches.blocked),
        budget_bytes_per_hour=state.budget_bytes_per_hour,
        budget_bytes_per_day=state.budget_bytes_per_day,
        commands=state.commands,
        cloud_speaks=state.cloud_speaks,
    )


def _entry(
    bundle: Bundle,
    runs: Artifact | None,
    trusted: TrustedKeys,
    record: BankRecord,
    envelope: bytes | None,
    notes: list[str],
) -> BankEntry | None:
    if envelope is None:
        notes.append(f"patch {record.digest[:12]} is not in the store")
        return None
    try:
        patch = open_envelope(envelope, trusted)
        check_fit(patch, bundle, runs)
    except TrustError as error:
        notes.append(f"stored patch {record.digest[:12]}: {error}")
        return None
    vector = _vector(record.signature, len(bundle.calibration.signature_mean))
    signature = vector if vector is not None else np.zeros(0, np.float32)
    return BankEntry(
        patch, envelope, signature, _statistics(bundle, record.mean, record.var), record.confirmed
    )


def _values(trusted: TrustedKeys, envelope: bytes | None) -> Mapping[str, FloatArray] | None:
    """The values of a patch that is not to run; None when they cannot be told any more."""
    try:
        return open_envelope(envelope, trusted).values if envelope is not None else None
    except TrustError:
        return None


def _statistics(bundle: Bundle, mean: bytes, var: bytes) -> Statistics | None:
    size = bundle.manifest.probe_channels
    pair = _vector(mean, size), _vector(var, size)
    return (pair[0], pair[1]) if pair[0] is not None and pair[1] is not None else None


def _vector(data: bytes, length: int) -> FloatArray | None:
    try:
        return unpack_vector(data, length)
    except WireError:
        return None


def snapshot(
    bundle: Bundle,
    adaptation: Adaptation,
    told: Told,
    budget: BudgetRecord | None,
    epoch: int,
    frames: int,
    clusters: tuple[ClusterRecord, ...] = (),
) -> tuple[DeviceState, dict[str, bytes]]:
    """The state to store, and the envelopes it names by digest."""
    running, trial = adaptation.patches.known_good, adaptation.patches.trial
    signature = adaptation.tracker.signature
    entries = list(adaptation.patches.bank.entries())
    known = {entry.patch.digest for entry in entries}
    if (
        running.entry is not None
        and running.digest not in known
        and running.digest not in adaptation.patches.blocked
    ):
        entries.insert(0, running.entry)
    record = None
    if trial.active:
        seen = trial.candidate
        record = TrialRecord(seen.cohort, seen.serial, seen.digest, seen.previous, trial.deadline_wall_s)
    state = DeviceState(
        bundle=bundle.digest,
        epoch=epoch,
        segment=adaptation.tracker.segment,
        frames=frames,
        patch=running.digest,
        mean=pack_vector(running.statistics[0]),
        var=pack_vector(running.statistics[1]),
        reference=pack_vector(signature.vector),
        reference_frames=signature.count,
        serials=dict(told.serials),
        assignments=told.assignments,
        blocked=told.blocked,
        bank=tuple(_record(entry) for entry in entries),
        trial=record,
        budget_bytes_per_hour=told.budget_bytes_per_hour,
        budget_bytes_per_day=told.budget_bytes_per_day,
        budget=budget,
        commands=told.commands,
        cloud_speaks=told.cloud_speaks,
        clusters=clusters,
    )
    return state, {entry.patch.digest: entry.envelope for entry in entries}


def _record(entry: BankEntry) -> BankRecord:
    mean, var = entry.statistics if entry.statistics is not None else (np.zeros(0, np.float32),) * 2
    return BankRecord(
        entry.patch.header.cohort,
        entry.patch.digest,
        pack_vector(entry.signature),
        pack_vector(mean),
        pack_vector(var),
        entry.confirmed,
    )
