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
from edgeadapt_device.core.adapt.values import values_name


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


@dataclass(slots=True)
class _Shelf:
    """What is remembered for one cohort: the patch that has proved itself, and a newer one to be tried."""

    standing: BankEntry | None = None
    candidate: BankEntry | None = None

    def entries(self) -> tuple[BankEntry, ...]:
        """The ones that are there, the standing one first."""
        return tuple(e for e in (self.standing, self.candidate) if e is not None)


class PatchBank:
    """Per cohort a standing entry and a candidate, in order of use (the most recent cohort last).

    A candidate takes the standing one's place only when it is confirmed: until then a domain that
    returns offline gets what worked before. "The base" needs no trial and stands at once.
    """

    def __init__(self, calibration: Calibration, max_bytes: int) -> None:
        self._calibration = calibration
        self._max_bytes = max_bytes
        self._shelves: dict[str, _Shelf] = {}

    def put(self, patch: Patch, envelope: bytes) -> BankEntry:
        """Remember a newer patch of its cohort; the domain's signature is kept when the new one has none.

        What stands, issued anew, goes on standing with all that was learnt under it.
        """
        cohort = patch.header.cohort
        old = self.get(cohort)
        signature = patch.signature
        if not signature.size and old is not None:
            signature = old.signature
        entry, standing = BankEntry(patch, envelope, signature), self.standing(cohort)
        renewed = standing is not None and values_name(standing.patch.values) == values_name(patch.values)
        if renewed and standing is not None:
            entry.confirmed, entry.statistics = standing.confirmed, standing.statistics
            entry.signature = standing.signature if standing.signature.size else signature
        self.restore(entry)
        if renewed or not patch.values:
            self._shelves[cohort].candidate = None
        self.touch(cohort)
        self._evict()
        return entry

    def restore(self, entry: BankEntry) -> None:
        """Put an entry where it belongs: what waits for its trial is a candidate, all else stands."""
        shelf = self._shelves.setdefault(entry.patch.header.cohort, _Shelf())
        if entry.confirmed or not entry.patch.values:
            shelf.standing = entry
        else:
            shelf.candidate = entry

    def confirm(self, entry: BankEntry) -> None:
        """The entry passed its trial: it stands for its cohort from now on."""
        entry.confirmed = True
        self.restore(entry)
        shelf = self._shelves[entry.patch.header.cohort]
        if shelf.candidate is entry:
            shelf.candidate = None

    def _evict(self) -> None:
        while len(self._shelves) > 1 and sum(len(e.envelope) for e in self.entries()) > self._max_bytes:
            del self._shelves[next(iter(self._shelves))]

    def get(self, cohort: str) -> BankEntry | None:
        """The cohort's newest entry, or None."""
        shelf = self._shelves.get(cohort)
        return shelf.entries()[-1] if shelf is not None else None

    def standing(self, cohort: str) -> BankEntry | None:
        """The cohort's entry that has proved itself, or None."""
        shelf = self._shelves.get(cohort)
        return shelf.standing if shelf is not None else None

    def by_digest(self, digest: str) -> BankEntry | None:
        """The entry that holds this very patch, or None."""
        return next((e for e in self.entries() if e.patch.digest == digest), None)

    def touch(self, cohort: str) -> None:
        """Count an entry as used now."""
        if cohort in self._shelves:
            self._shelves[cohort] = self._shelves.pop(cohort)

    def remove(self, digest: str) -> None:
        """Forget a patch that proved harmful."""
        for shelf in self._shelves.values():
            if shelf.standing is not None and shelf.standing.patch.digest == digest:
                shelf.standing = None
            if shelf.candidate is not None and shelf.candidate.patch.digest == digest:
                shelf.candidate = None
        self._shelves = {cohort: shelf for cohort, shelf in self._shelves.items() if shelf.entries()}

    def nearest(self, vector: FloatArray, max_distance: float) -> BankEntry | None:
        """The confirmed entry whose domain is nearest to `vector` [S].

        None when the source is nearer, when all are far, or when the nearest asks for the base.
        """
        found, best = (
            None,
            min(max_distance, distance(vector, self._calibration.signature_mean, self._calibration)),
        )
        for shelf in self._shelves.values():
            entry = shelf.standing
            if entry is None:
                continue
            away = distance(vector, entry.signature, self._calibration)
            if away < best:
                found, best = entry, away
        return found if found is not None and found.patch.values else None

    def entries(self) -> tuple[BankEntry, ...]:
        """All entries, the least recently used cohort first; a candidate follows what it may replace."""
        return tuple(entry for shelf in self._shelves.values() for entry in shelf.entries())
