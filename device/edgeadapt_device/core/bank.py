"""The domain bank: patches kept per cohort, with the signature of their domain and its statistics.

When a domain returns, the nearest entry within the match distance is put back at once, offline. The
source itself is always a candidate, so a return to the source domain ends in the base. The least
recently used entries go when the patches together take more bytes than allowed. An entry with no
values means that the cloud wants the base for that cohort.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeadapt.bundle.calibration import Calibration
from edgeadapt.patch import Patch
from edgeadapt.signature import distance
from edgeadapt.tensors import FloatArray


@dataclass(slots=True)
class BankEntry:
    """A remembered patch; mutable fields follow what the device learns about it.

    Attributes:
        patch: the verified patch.
        envelope: the bytes it came in, to verify it again after a restart.
        signature: [S] of its domain, or empty when neither cloud nor device has named it.
        statistics: [P] mean and variance last held under it on this device.
        confirmed: it passed a trial here.
    """

    patch: Patch
    envelope: bytes
    signature: FloatArray
    statistics: tuple[FloatArray, FloatArray] | None = None
    confirmed: bool = False


class PatchBank:
    """At most one entry per cohort, in order of use (the most recent last)."""

    def __init__(self, calibration: Calibration, max_bytes: int) -> None:
        self._calibration = calibration
        self._max_bytes = max_bytes
        self._entries: dict[str, BankEntry] = {}

    def put(self, patch: Patch, envelope: bytes) -> None:
        """Remember a newer patch of its cohort; the domain's signature is kept when the new one has none."""
        cohort = patch.header.cohort
        old = self._entries.pop(cohort, None)
        signature = patch.signature
        if not signature.size and old is not None:
            signature = old.signature
        self._entries[cohort] = BankEntry(patch, envelope, signature)
        self._evict()

    def restore(self, entry: BankEntry) -> None:
        """Put back an entry from before a restart."""
        self._entries[entry.patch.header.cohort] = entry

    def _evict(self) -> None:
        while (
            len(self._entries) > 1 and sum(len(e.envelope) for e in self._entries.values()) > self._max_bytes
        ):
            del self._entries[next(iter(self._entries))]

    def get(self, cohort: str) -> BankEntry | None:
        """The cohort's entry, or None."""
        return self._entries.get(cohort)

    def by_digest(self, digest: str) -> BankEntry | None:
        """The entry that holds this very patch, or None."""
        return next((e for e in self._entries.values() if e.patch.digest == digest), None)

    def touch(self, cohort: str) -> None:
        """Count an entry as used now."""
        if cohort in self._entries:
            self._entries[cohort] = self._entries.pop(cohort)

    def remove(self, digest: str) -> None:
        """Forget a patch that proved harmful."""
        self._entries = {c: e for c, e in self._entries.items() if e.patch.digest != digest}

    def nearest(self, vector: FloatArray, max_distance: float) -> BankEntry | None:
        """The entry whose domain is nearest to `vector` [S], unless the source is nearer or all are far."""
        found, best = (
            None,
            min(max_distance, distance(vector, self._calibration.signature_mean, self._calibration)),
        )
        for entry in self._entries.values():
            away = distance(vector, entry.signature, self._calibration)
            if away < best:
                found, best = entry, away
        return found

    def entries(self) -> tuple[BankEntry, ...]:
        """All entries, the least recently used first."""
        return tuple(self._entries.values())
