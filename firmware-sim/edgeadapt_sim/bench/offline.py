"""A job of pictures that no device has sent, for studies that make patches offline."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from edgeadapt.tensors import FloatArray
from edgeadapt_cloud.core.jobs.job import JobRequest

# One picture in so many stands for the audit lane.
_AUDIT_EVERY = 5


def offline_job(
    bundle: str, images: npt.NDArray[np.uint8], mean: FloatArray, var: FloatArray, seed: int
) -> tuple[JobRequest, list[str]]:
    """The request for `anchored`, and the lane of each picture.

    Args:
        bundle: its digest.
        images: [N, H, W, C].
        mean: [P] of the devices' statistics.
        var: [P] likewise.
        seed: of the strategy's choices.
    """
    request = JobRequest(
        cohort="bench",
        bundle_digest=bundle,
        job=seed + 1,
        strategy="anchored",
        sample_ids=tuple(hashlib.sha256(image.tobytes()).hexdigest() for image in images),
        mean=mean.copy(),
        var=var.copy(),
        frames=len(images),
        serial=1,
        state=b"",
        serving={},
    )
    return request, ["audit" if index % _AUDIT_EVERY == 0 else "adapt" for index in range(len(images))]
