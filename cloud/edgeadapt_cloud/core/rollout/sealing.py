"""Seals patches: the next serial of a cohort, an expiry, a signature.

Serials only rise, so older values come back under a new one. Values that do not fit their slots are
never signed. Not here: who gets a patch and when (`rollout.release`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeadapt.bundle.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.digest import sha256_hex
from edgeadapt.errors import TrustError
from edgeadapt.patch import Patch, PatchHeader, Thresholds, TrustedKeys, check_fit, open_envelope, seal
from edgeadapt_cloud.core.rollout.stages import Stage
from edgeadapt_cloud.core.rollout.standing import Draft
from edgeadapt_cloud.core.rows import CohortRow, PatchRow


class Sealer:
    """Signs for one bundle."""

    def __init__(self, bundle: Bundle, key: Ed25519PrivateKey, lifetime_s: float) -> None:
        self._bundle = bundle
        self._key = key
        self._lifetime_s = lifetime_s

    def seal(self, cohort: CohortRow, draft: Draft, now: Instant) -> tuple[CohortRow, PatchRow]:
        """Give a draft the next serial and sign it.

        Returns:
            The cohort's row with its risen serial, and the patch, gated.

        Raises:
            TrustError: a value does not fit its slot; devices would refuse it, so it is never signed.
        """
        serial = cohort.serial + 1
        created_s = now.wall_s
        header = PatchHeader(
            bundle=self._bundle.digest,
            cohort=cohort.cohort,
            serial=serial,
            created_s=created_s,
            expires_s=created_s + self._lifetime_s,
            strategy=draft.strategy,
            samples=draft.samples,
            evidence=draft.evidence,
        )
        values = {name: np.ascontiguousarray(value) for name, value in draft.values.items()}
        check_fit(Patch(header, values, draft.signature, ""), self._bundle)
        sealed = seal(header, values, draft.signature, self._key, draft.thresholds)
        row = PatchRow(
            cohort.cohort,
            serial,
            sha256_hex(sealed),
            draft.job,
            Stage.GATED,
            created_s,
            sealed,
            values,
            note=draft.note,
            expires_s=header.expires_s,
        )
        return replace(cohort, serial=serial), row

    def restore(
        self, cohort: CohortRow, source: PatchRow | None, reason: str, now: Instant
    ) -> tuple[CohortRow, PatchRow]:
        """The values of an older patch, or the base bundle, under the next serial."""
        values = source.values if source is not None else {}
        thresholds = self._thresholds(source) if source is not None else {}
        what = f"the values of serial {source.serial}" if source is not None else "the base bundle"
        note = f"back to {what}: {reason}"
        draft = Draft(values, cohort.centroid, "rollback", 0, (), note=note, thresholds=thresholds)
        return self.seal(cohort, draft, now)

    def renew(self, cohort: CohortRow, source: PatchRow, now: Instant) -> tuple[CohortRow, PatchRow]:
        """The values of a patch that is about to expire, under the next serial and with a new expiry."""
        note = f"the values of serial {source.serial}, which would have expired"
        draft = Draft(
            source.values,
            cohort.centroid,
            "renewal",
            0,
            (),
            job=source.job,
            note=note,
            thresholds=self._thresholds(source),
        )
        return self.seal(cohort, draft, now)

    def _thresholds(self, source: PatchRow) -> Thresholds:
        """Those that an older patch was sealed with; none when another key, since changed, has sealed it."""
        own = TrustedKeys([self._key.public_key().public_bytes_raw()])
        try:
            return open_envelope(source.sealed, own).thresholds
        except TrustError:
            return {}


def expiring(row: PatchRow, now: Instant) -> bool:
    """True when less than a third of a patch's life is left."""
    return row.expires_s - now.wall_s < (row.expires_s - row.created_s) / 3
