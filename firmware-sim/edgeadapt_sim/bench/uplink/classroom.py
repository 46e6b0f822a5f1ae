"""The cloud's side: uploads become a patch, by the real adapter, strategy and gate.

The gate's verdict is recorded; the candidate is measured whatever it says. Only its demands on the number of
samples are asked afterwards, for without them nothing would be taught from few.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from edgeadapt.bundle import Bundle
from edgeadapt.patch import Evidence
from edgeadapt.tensors import FloatArray
from edgeadapt_cloud.adapt import Adapter, AdaptSettings, LabelledSource
from edgeadapt_cloud.adapt.settings import GateSettings
from edgeadapt_cloud.core.fleet.pool import Statistics
from edgeadapt_cloud.core.jobs.job import JobRequest
from edgeadapt_models.data import Dataset
from edgeadapt_sim.bench.uplink.plan import UplinkPlan
from edgeadapt_sim.bench.uplink.streams import Images

_FEWEST = 16  # uploads; with fewer, nothing is taught
_COUNTS = ("samples", "unseen-samples")


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a job made: the candidate's slot values, and the checks of the gate that it fails."""

    values: Mapping[str, FloatArray]
    failed: tuple[str, ...]


class Classroom:
    """Makes patches for one student. One thread at a time."""

    def __init__(self, plan: UplinkPlan, dataset: Dataset, bundle: Bundle) -> None:
        """Load the teacher and the labelled source; raises ConfigError."""
        settings = AdaptSettings(student=plan.student, teacher=plan.teacher)
        gate = msgspec.structs.replace(settings.gate, min_samples=_FEWEST, min_unseen=1)
        anchored = msgspec.structs.replace(settings.anchored, steps=plan.steps)
        source = msgspec.structs.replace(settings.source, holdout_images=plan.source_holdout)
        settings = msgspec.structs.replace(settings, gate=gate, anchored=anchored, source=source)
        self._bundle = bundle
        self._adapter = Adapter(settings, bundle, LabelledSource.of(dataset, settings.source))

    def teach(self, images: Images, lanes: Sequence[str], statistics: Statistics, *, seed: int) -> Proposal:
        """Teach from uploads.

        Args:
            images: uint8 [N, H, W, C] in the order in which they arrived.
            lanes: [N] of each.
            statistics: the devices' own.
            seed: of the strategy's choices.
        """
        request = JobRequest(
            cohort="bench",
            bundle_digest=self._bundle.digest,
            job=seed + 1,
            strategy="anchored",
            sample_ids=tuple(hashlib.sha256(image.tobytes()).hexdigest() for image in images),
            mean=statistics.mean,
            var=statistics.var,
            frames=statistics.frames,
            serial=1,
            state=b"",
            serving={},
        )
        taught, evidence = self._adapter.propose(request, images, list(lanes))
        return Proposal(taught.values, tuple(entry.check for entry in evidence if not _passes(entry)))


def _passes(entry: Evidence) -> bool:
    """The verdict of the gate as it is by default."""
    if entry.check not in _COUNTS:
        return entry.passed
    gate = GateSettings()
    return entry.value >= (gate.min_samples if entry.check == "samples" else gate.min_unseen)
