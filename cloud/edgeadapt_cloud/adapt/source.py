"""Labelled source data: replay for the strategies, and a holdout that nothing is learned from.

Replay comes from the split that the networks were fitted on, the holdout from the images that no recipe
learns from (on images it was fitted on a student looks better than it is). Both are capped, drawn with a
seed, and kept as bytes.
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
        holdout: from the reserved split; the gate judges by it, and a strategy may measure on it how far
            a patch can go, one number, but not learn from it.
    """

    replay: Labelled
    holdout: Labelled

    @staticmethod
    def of(
        dataset: Dataset, settings: SourceSettings, *, seed: int = 0, holdout: int = HOLDOUT
    ) -> LabelledSource:
        """Draw the parts from a data set's training images; raises ConfigError when it is too small."""
        parts = split(dataset, holdout=holdout)
        rng = np.random.default_rng(seed)
        return LabelledSource(
            replay=_draw(parts.fit, settings.replay_images, rng),
            holdout=_draw(parts.holdout, settings.holdout_images, rng),
        )

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random replay images float32 [count, C, H, W] in [0, 1] with labels int64 [count]."""
        picked = torch.randint(0, len(self.replay.labels), (count,), generator=generator).numpy()
        return as_tensor(self.replay.images[picked]), torch.from_numpy(self.replay.labels[picked])


def _draw(part: Labelled, count: int, rng: np.random.Generator) -> Labelled:
    picked: npt.NDArray[np.int64] = rng.permutation(len(part.labels))[:count]
    return Labelled(part.images[picked], part.labels[picked])
