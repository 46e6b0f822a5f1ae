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

from edgeadapt.balanced import BalancedMean
from edgeadapt.bundle.bundle import Bundle
from edgeadapt.normstats import StatisticsConfig
from edgeadapt.tensors import FloatArray

_UNIT_STEPS = 5.0


class EmbeddingShift:
    """The running mean of one device's embeddings, under one patch at a time."""

    def __init__(self, bundle: Bundle, config: StatisticsConfig) -> None:
        slot = next((s for s in bundle.manifest.slots if s.kind == "embedding_shift"), None)
        # Where layers keep statistics, those move the embedding already: with both, accuracy fell.
        wanted = config.enabled and config.embedding_shift and not bundle.manifest.has_statistics
        self.slot = slot.name if slot is not None and wanted else ""
        self._gain, self._every = config.embedding_gain, config.frames_per_update
        prototypes = bundle.calibration.prototypes.astype(np.float64)
        self._source = prototypes.mean(axis=0)
        #: The unit in which moves are measured: some typical steps between classes. A mean of embeddings
        #: wanders further by chance than moments do, which are means over positions, too.
        self.unit = _UNIT_STEPS * float(np.sqrt(np.mean((prototypes - self._source) ** 2))) or 1.0
        self._bounds = (slot.lower, slot.upper) if slot is not None else (0.0, 0.0)
        self._mean = BalancedMean(
            self._source,
            prior_frames=config.prior_frames,
            window_frames=config.window_frames,
            classes=len(bundle.manifest.classes),
            guarded=config.diversity_guard,
        )
        self.restart()

    def restart(self) -> None:
        """Begin at the source, worth the prior's frames."""
        self._mean.restart(self._source)
        self._waiting: list[tuple[FloatArray, int]] = []

    def observe(self, embedding: FloatArray, predicted: int, excess: float, nearness: float = 0.0) -> bool:
        """Take one frame's embedding [D] and predicted class; True when the mean moved.

        One that is not finite is left out; `excess` is that of `balanced.Correlation`, `nearness` that of
        `domains.Home`.
        """
        if np.isfinite(embedding).all():
            self._waiting.append((embedding, predicted))
        if len(self._waiting) < self._every:
            return False
        values, labels = zip(*self._waiting, strict=True)
        self._waiting = []
        self._mean.update(np.stack(values).astype(np.float64), np.array(labels), excess, nearness)
        return True

    @property
    def value(self) -> FloatArray:
        """[D] the shift as things stand, within the slot's bounds."""
        shift = (self._gain * (self._source - self._mean.value)).astype(np.float32)
        low, high = self._bounds
        bounded: FloatArray = np.minimum(np.maximum(shift, np.float32(low)), np.float32(high))
        return bounded
