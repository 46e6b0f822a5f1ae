"""What stays strange after the model has adapted: clustered on the device, and asked about once per cluster.

Online leader clustering (Hartigan, "Clustering Algorithms", 1975, chapter 3) on descriptors
(`edgeadapt.descriptor`): a frame joins the nearest cluster whose centre it is like, or begins one; a centre
follows the mean of its members; two centres that have become alike are one cluster. At most so many are
kept: a new one takes the place of the one with the fewest members that came longest ago.

A question about a cluster is due when it has some members, or one that has waited; it shows the member
nearest to the centre. It is asked again only when the cluster has grown tenfold, or, if it has grown at all,
a day later. Centres, counts and what was asked survive a restart; frames do not, so a cluster needs a new
member before its next question.

Nothing here is ever a lesson: a frame in quarantine has no label but a person's. Descriptors of two patches
differ a little, so a cluster may be found again under another patch. Not here: whether a question is worth
its bytes (`core.uplink`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import numpy as np

from edgeadapt import descriptor
from edgeadapt.clock import Instant
from edgeadapt.tensors import FloatArray
from edgeadapt_device.core.flagging.suspects import kept, size_bytes
from edgeadapt_device.core.state import ClusterRecord
from edgeadapt_device.core.uplink.candidate import Candidate

# Members from which on a cluster is asked about, and frames after which one of fewer is.
_ENOUGH_MEMBERS, _PATIENCE_FRAMES = 3, 512
_GROWN_TIMES, _DAY_S = 10, 24 * 3600.0
# Frames after which a question that nobody could pay for is offered again.
_RETRY_FRAMES = 256
# Members that count in a centre: older ones are forgotten, as what a camera sees moves on.
_MEMORY = 256
# Frames of a cluster that are kept to choose from.
_SPECIMENS = 4


@dataclass(slots=True)
class _Cluster:
    number: int
    centre: FloatArray
    members: int = 1
    asked_members: int = 0
    asked_wall_s: float = 0.0
    born_frame: int = 0
    touched_frame: int = 0
    retry_frame: int = 0
    # (descriptor of length 1, frame) of members since the last question.
    specimens: list[tuple[FloatArray, Candidate]] = field(default_factory=list)

    def join(self, vector: FloatArray, members: int = 1) -> None:
        """Move the centre towards `vector`, the mean of so many members."""
        self.members += members
        share = members / min(self.members, _MEMORY + members)
        self.centre = _normal(self.centre + share * (vector - self.centre))

    def due(self, now: Instant, frame: int) -> bool:
        """True when a question about it is wanted."""
        if not self.specimens or frame < self.retry_frame:
            return False
        if not self.asked_members:
            return self.members >= _ENOUGH_MEMBERS or frame - self.born_frame >= _PATIENCE_FRAMES
        # A clock that was put back would otherwise make it wait for years.
        day_passed = not 0.0 <= now.wall_s - self.asked_wall_s < _DAY_S
        return self.members >= _GROWN_TIMES * self.asked_members or (
            day_passed and self.members > self.asked_members
        )


class Quarantine:
    """The clusters of one device.

    Attributes:
        strange: frames that were put here since start.
        questions: that were taken by the uplink since start.
    """

    def __init__(
        self,
        prototypes: FloatArray,
        most: int,
        most_bytes: int,
        saved: tuple[ClusterRecord, ...] = (),
    ) -> None:
        """At most `most` clusters, whose frames take `most_bytes`; `saved` are an earlier process's."""
        self._describer = descriptor.Describer(prototypes)
        self._most, self._most_bytes = most, most_bytes
        self._clusters: list[_Cluster] = []
        self._number = max((record.number for record in saved), default=0)
        self._bytes = self._frame = 0
        self.strange = self.questions = 0
        for record in saved[: self._most]:
            if len(record.centre) == descriptor.SIZE:
                centre = descriptor.unit(descriptor.unpack(record.centre))
                self._clusters.append(
                    _Cluster(record.number, centre, record.members, record.asked_members, record.asked_wall_s)
                )

    def __len__(self) -> int:
        """Clusters."""
        return len(self._clusters)

    @property
    def records(self) -> tuple[ClusterRecord, ...]:
        """What a restart must know: 64 bytes and three numbers each."""
        return tuple(
            ClusterRecord(c.number, _packed(c.centre), c.members, c.asked_members, c.asked_wall_s)
            for c in self._clusters
        )

    def tick(self) -> None:
        """A frame went by, strange or not."""
        self._frame += 1

    def add(self, frame: Candidate) -> tuple[int, int]:
        """Put a strange frame into a cluster.

        Returns:
            (the cluster's number, its members); (0, 0) for a frame that is alike to nothing: its
            embedding is missing or not finite.
        """
        if frame.embedding is None or not self._most:
            return 0, 0
        vector = descriptor.unit(self._describer.describe(frame.embedding))
        if not vector.any():
            return 0, 0
        self.strange += 1
        cluster, alike = self._nearest(vector)
        if cluster is None or alike < descriptor.ALIKE:
            cluster = self._begin(vector)
        else:
            cluster.join(vector)
        cluster.touched_frame = self._frame
        self._keep(cluster, vector, frame)
        cluster = self._merged(cluster)
        return cluster.number, cluster.members

    def due(self, now: Instant) -> list[Candidate]:
        """The questions that are due: for each cluster its member nearest to the centre."""
        found = []
        for cluster in self._clusters:
            if cluster.due(now, self._frame):
                _, frame = max(cluster.specimens, key=lambda specimen: float(specimen[0] @ cluster.centre))
                found.append(msgspec.structs.replace(frame, cluster=cluster.number, members=cluster.members))
        return found

    def asked(self, number: int, now: Instant, *, taken: bool) -> None:
        """What became of a question: taken by the uplink, or to be offered again later."""
        for cluster in self._clusters:
            if cluster.number != number:
                continue
            if not taken:
                cluster.retry_frame = self._frame + _RETRY_FRAMES
                continue
            self.questions += 1
            cluster.asked_members, cluster.asked_wall_s = cluster.members, now.wall_s
            self._drop_specimens(cluster)

    def _nearest(self, vector: FloatArray) -> tuple[_Cluster | None, float]:
        if not self._clusters:
            return None, 0.0
        alike = np.stack([cluster.centre for cluster in self._clusters]) @ vector
        best = int(alike.argmax())
        return self._clusters[best], float(alike[best])

    def _begin(self, vector: FloatArray) -> _Cluster:
        if len(self._clusters) >= self._most:
            least = min(self._clusters, key=lambda c: (c.members, c.touched_frame))
            self._drop_specimens(least)
            self._clusters.remove(least)
        self._number += 1
        cluster = _Cluster(self._number, vector, born_frame=self._frame)
        self._clusters.append(cluster)
        return cluster

    def _merged(self, cluster: _Cluster) -> _Cluster:
        """The cluster, or the older one that it has become alike to."""
        for other in self._clusters:
            if other is cluster or float(other.centre @ cluster.centre) < descriptor.ALIKE:
                continue
            old, new = sorted((cluster, other), key=lambda c: c.number)
            old.join(new.centre, new.members)
            old.asked_members = max(old.asked_members, new.asked_members)
            old.asked_wall_s = max(old.asked_wall_s, new.asked_wall_s)
            old.touched_frame = max(old.touched_frame, new.touched_frame)
            for vector, frame in new.specimens:
                self._bytes -= size_bytes(frame)
                self._keep(old, vector, frame)
            self._clusters.remove(new)
            return old
        return cluster

    def _keep(self, cluster: _Cluster, vector: FloatArray, frame: Candidate) -> None:
        """Keep the frame if it is among the nearest to the centre, and there is room."""
        size = size_bytes(frame)
        if len(cluster.specimens) >= _SPECIMENS:
            farthest = min(cluster.specimens, key=lambda specimen: float(specimen[0] @ cluster.centre))
            if float(farthest[0] @ cluster.centre) >= float(vector @ cluster.centre):
                return
            cluster.specimens = [specimen for specimen in cluster.specimens if specimen is not farthest]
            self._bytes -= size_bytes(farthest[1])
        if self._bytes + size > self._most_bytes:
            return
        self._bytes += size
        cluster.specimens.append((vector, kept(frame)))

    def _drop_specimens(self, cluster: _Cluster) -> None:
        self._bytes -= sum(size_bytes(frame) for _, frame in cluster.specimens)
        cluster.specimens = []


def _normal(vector: FloatArray) -> FloatArray:
    length = float(np.sqrt(vector @ vector))
    return np.asarray(vector / max(length, 1e-6), dtype=np.float32)


def _packed(centre: FloatArray) -> bytes:
    largest = max(float(np.abs(centre).max()), 1e-6)
    return descriptor.pack(np.rint(centre * (127.0 / largest)).astype(np.int8))
