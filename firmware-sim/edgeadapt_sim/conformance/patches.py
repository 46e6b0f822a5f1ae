"""Clauses about patches: what must be refused, and why, and what becomes of a good one.

Each is offered in a cohort of its own, as a device tells what anybody could provoke once a minute per cohort.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeadapt.digest import sha256_hex
from edgeadapt.patch import PatchHeader, seal
from edgeadapt.patch.envelope import MAX_PATCH_BYTES
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import Assign, Command, Outcome, SignatureReport
from edgeadapt.wire.topics import patch as patch_topic
from edgeadapt_sim.conformance.clause import Clause, Trial, Verdict, failed, not_shown, passed
from edgeadapt_sim.conformance.leftovers import COHORT
from edgeadapt_sim.conformance.stand import online

_LIFETIME_S = 7 * 86400.0
_NUDGE = 0.01


def header(trial: Trial, cohort: str, **changes: Any) -> PatchHeader:
    """A header that the device believes, but for `changes`."""
    now_s = time.time()
    births = online(trial.stand)
    bundle = trial.bundle.digest if trial.bundle is not None else births[-1].bundle if births else ""
    fields: dict[str, Any] = {
        "bundle": bundle,
        "cohort": cohort,
        "serial": 10,
        "created_s": now_s,
        "expires_s": now_s + _LIFETIME_S,
        "strategy": "conformance",
        "samples": 0,
        "evidence": (),
    }
    return PatchHeader(**(fields | changes))


def values(trial: Trial) -> dict[str, FloatArray]:
    """One slot of the bundle, moved by as little as matters to nobody, and each time by another amount.

    Values that were confirmed or taken back on this device before, by an earlier run, would need no trial.
    """
    assert trial.bundle is not None
    nudge = np.float32(_NUDGE * (1.0 + secrets.randbelow(1 << 16) / (1 << 16)))
    base = trial.bundle.base_slots()
    slot = next(s for s in trial.bundle.manifest.slots if s.name in base)
    value = base[slot.name].astype(np.float32)
    return {slot.name: np.clip(value + nudge, slot.lower, slot.upper).astype(np.float32)}


def assign(trial: Trial) -> str | None:
    """Put the device's present segment into a cohort of its own; None when it does not say where it is."""
    stand = trial.stand

    def reports() -> list[SignatureReport]:
        return [c.row for c in stand.rows.values() if isinstance(c.row, SignatureReport)]

    before = len(reports())
    stand.order(Command(id=trial.fresh("where"), action="report"))
    stand.until(lambda: len(reports()) > before, trial.patience.answer_s)
    if not reports():
        return None
    newest, cohort = reports()[-1], trial.fresh(COHORT)
    message = Assign(cohort=cohort, segment=newest.segment, channel="stable", bundle=newest.bundle)
    stand.tell("assign", message, retain=True)
    return cohort


def outcomes(trial: Trial, digest: str) -> list[Outcome]:
    """What the device has said about one patch."""
    rows = [copies.row for copies in trial.stand.rows.values()]
    return [row for row in rows if isinstance(row, Outcome) and row.patch == digest]


def offer(trial: Trial, cohort: str, envelope: bytes) -> str:
    """Retain a patch on the cohort's topic; returns its digest."""
    trial.stand.send(patch_topic(trial.stand.fleet, cohort, "stable"), envelope, retain=True)
    return sha256_hex(envelope)


def _refused(trial: Trial, cohort: str | None, envelope: bytes, reason: str) -> Verdict:
    if cohort is None:
        return not_shown("it does not say which segment it is in")
    digest = offer(trial, cohort, envelope)
    trial.stand.until(lambda: bool(outcomes(trial, digest)), trial.patience.answer_s)
    found = outcomes(trial, digest)
    if not found:
        return failed("no outcome came")
    if found[0].state != "refused":
        return failed(f"it was not refused: {found[0].state}")
    if not found[0].reason.startswith(reason):
        return failed(f"refused as {found[0].reason[:80]!r}, not as {reason!r}")
    return passed(found[0].reason[:80])


def unsigned(trial: Trial) -> Verdict:
    """A signature that does not match is refused."""
    if trial.key is None:
        return not_shown("no key was given")
    cohort = assign(trial)
    good = seal(header(trial, cohort or ""), {}, np.zeros(0, np.float32), trial.key)
    # The signature is the last thing in the envelope.
    return _refused(trial, cohort, good[:-64] + bytes(64), "bad-signature")


def stranger(trial: Trial) -> Verdict:
    """A key that is not pinned is nobody's."""
    cohort = assign(trial)
    key = Ed25519PrivateKey.generate()
    return _refused(
        trial, cohort, seal(header(trial, cohort or ""), {}, np.zeros(0, np.float32), key), "unknown-key"
    )


def malformed(trial: Trial) -> Verdict:
    """What is no envelope is refused."""
    return _refused(trial, assign(trial), b"\x83\xa7payload", "malformed")


def oversize(trial: Trial) -> Verdict:
    """More than 4 MiB is refused unread."""
    limit = trial.stand.max_packet_bytes
    if limit and limit < MAX_PATCH_BYTES + 1024:
        return not_shown(f"the broker takes packets of {limit} bytes only")
    return _refused(trial, assign(trial), bytes(MAX_PATCH_BYTES + 1), "too-large")


def _signed(trial: Trial, reason: str, **changes: Any) -> Verdict:
    if trial.key is None:
        return not_shown("no key was given")
    cohort = assign(trial)
    made = header(trial, **({"cohort": cohort or ""} | changes))
    return _refused(trial, cohort, seal(made, {}, np.zeros(0, np.float32), trial.key), reason)


def wrong_bundle(trial: Trial) -> Verdict:
    """A patch for another bundle is refused."""
    return _signed(trial, "wrong-bundle", bundle="0" * 64)


def wrong_cohort(trial: Trial) -> Verdict:
    """A patch for another cohort is refused where it does not belong."""
    return _signed(trial, "wrong-cohort", cohort="elsewhere")


def expired(trial: Trial) -> Verdict:
    """A patch that has expired is refused."""
    return _signed(trial, "expired", expires_s=time.time() - 3600.0)


def good(trial: Trial) -> Verdict:
    """A good patch goes on trial and is confirmed or reverted; an older serial is refused after it."""
    if trial.key is None or trial.bundle is None:
        return not_shown("no key or no bundle was given")
    cohort = assign(trial)
    if cohort is None:
        return not_shown("it does not say which segment it is in")
    nothing = np.zeros(0, np.float32)
    digest = offer(trial, cohort, seal(header(trial, cohort), values(trial), nothing, trial.key))

    def states() -> list[str]:
        return [outcome.state for outcome in outcomes(trial, digest)]

    trial.stand.until(
        lambda: bool({"confirmed", "reverted", "refused"} & set(states())), trial.patience.sample_s
    )
    if not states():
        return failed("no outcome came")
    if states() == ["trial"]:
        return not_shown(
            "the trial goes on: more patience (--sample-s), or a device that stays in one domain"
        )
    if states()[0] != "trial" or states()[-1] not in ("confirmed", "reverted"):
        return failed(f"its outcomes: {', '.join(states())}")
    older = seal(header(trial, cohort, serial=9), {}, nothing, trial.key)
    verdict = _refused(trial, cohort, older, "old-serial")
    return passed(f"{', '.join(states())}; then {verdict.detail}") if verdict.state == "pass" else verdict


CLAUSES = (
    Clause("patch.malformed", "What is no envelope is refused as malformed", malformed),
    Clause("patch.stranger", "A stranger's patch is refused as unknown-key", stranger),
    Clause("patch.unsigned", "A forged patch is refused as bad-signature", unsigned),
    Clause("patch.wrong-bundle", "A patch for another bundle is refused as wrong-bundle", wrong_bundle),
    Clause("patch.wrong-cohort", "A patch for another cohort is refused as wrong-cohort", wrong_cohort),
    Clause("patch.expired", "An expired patch is refused as expired", expired),
    Clause("patch.good", "A good patch is tried and judged, an older serial refused", good),
)
#: Costs a device 4 MiB of its budget, so whatever it has to send comes first.
DEAR = (Clause("patch.oversize", "A patch above 4 MiB is refused as too-large", oversize),)
