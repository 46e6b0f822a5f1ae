"""Labelled source data: replay and validation for the strategies, and a holdout that only the gate sees.

Replay comes from the split that the networks were fitted on; validation and holdout are disjoint parts
of the images that no recipe learns from (on replay a student looks better than it is). All are capped,
drawn with a seed, and kept as bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgeadapt_cloud.adapt.settings import SourceSettings
from edgeadapt_cloud.adapt.views import as_tensor
from edgeadapt_models.data import Dataset
from edgeadapt_models.train.split import HOLDOUT, Labelled, split


@dataclass(frozen=True, slots=True)
class LabelledSource:
    """Source images uint8 [N, H, W, C] with labels int64 [N].

    Attributes:
        replay: from the fit split; strategies may learn from it.
        validation: from the reserved split; strategies may choose by it, not learn from it.
        holdout: from the rest of the reserved split; only the gate looks at it.
    """

    replay: Labelled
    validation: Labelled
    holdout: Labelled

    @staticmethod
    def of(
        dataset: Dataset, settings: SourceSettings, *, seed: int = 0, holdout: int = HOLDOUT
    ) -> LabelledSource:
        """Draw the parts from a data set's training images; raises ConfigError when it is too small."""
        parts = split(dataset, holdout=holdout)
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(parts.holdout.labels))
        cut = min(settings.validation_images, len(order) // 2)
        return LabelledSource(
            replay=_take(parts.fit, rng.permutation(len(parts.fit.labels))[: settings.replay_images]),
            validation=_take(parts.holdout, order[:cut]),
            holdout=_take(parts.holdout, order[cut:][: settings.holdout_images]),
        )

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random replay images float32 [count, C, H, W] in [0, 1] with labels int64 [count]."""
        picked = torch.randint(0, len(self.replay.labels), (count,), generator=generator).numpy()
        return as_tensor(self.replay.images[picked]), torch.from_numpy(self.replay.labels[picked])


def _take(part: Labelled, picked: npt.NDArray[np.int64]) -> Labelled:
    return Labelled(part.images[picked], part.labels[picked])
