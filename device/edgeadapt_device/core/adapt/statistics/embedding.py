"""Models without statistics: the mean of the embedding, moved back to where the source has it.

A domain moves a model's last activations; where no layer keeps statistics (LayerNorm), that offset reaches
the head. Every frame's embedding is there for free, so its slow mean mu_t is followed, and the shift

    gamma (mu_source - mu_t)

is added before the head, as in FOA (Niu et al., "Test-Time Model Adaptation with Only Forward Passes", ICML
2024, section 3.3). It lies in a slot that folds into the head's bias: it costs nothing per frame. The
embedding that the engine returns is the one before the shift, so this is no feedback.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeadapt.bundle.bundle import Bundle
from edgeadapt.normstats import StatisticsConfig
from edgeadapt.tensors import FloatArray


class EmbeddingShift:
    """The running mean of one device's embeddings, under one patch at a time."""

    def __init__(self, bundle: Bundle, config: StatisticsConfig) -> None:
        slot = next((s for s in bundle.manifest.slots if s.kind == "embedding_shift"), None)
        self.slot = slot.name if slot is not None and config.enabled and config.embedding_shift else ""
        self._config = config
        prototypes = bundle.calibration.prototypes.astype(np.float64)
        self._source = prototypes.mean(axis=0)
        #: Length of a typical step between classes: the unit in which moves are measured.
        self.unit = float(np.sqrt(np.mean((prototypes - self._source) ** 2))) or 1.0
        self._bounds = (slot.lower, slot.upper) if slot is not None else (0.0, 0.0)
        self.restart()

    def restart(self) -> None:
        """Begin at the source, worth the prior's frames."""
        self._mean: npt.NDArray[np.float64] = self._source.copy()
        self._weight = self._config.prior_frames

    def observe(self, embedding: FloatArray, weight: float) -> None:
        """Take one frame's embedding [D], which counts `weight`; one that is not finite is left out."""
        if weight <= 0.0 or not np.isfinite(embedding).all():
            return
        self._weight = min(self._weight + weight, self._config.window_frames)
        self._mean += weight / self._weight * (embedding - self._mean)

    @property
    def value(self) -> FloatArray:
        """[D] the shift as things stand, within the slot's bounds."""
        shift: FloatArray = (self._config.embedding_gain * (self._source - self._mean)).astype(np.float32)
        return np.clip(shift, *self._bounds, dtype=np.float32)
