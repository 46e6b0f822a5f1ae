"""A student as a device runs it: compiled, in the device's engine, with each state's slot values.

States: the base's values; statistics of its own, estimated as a device does it, with forward passes only
(`edgeadapt.normstats`); a patch, and statistics of its own under that.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeadapt import signature
from edgeadapt.bundle import Bundle, InputSpec, SlotValues
from edgeadapt.normstats import NormEstimator, StatisticsConfig, statistics_of_slots, statistics_slots
from edgeadapt.scoring import Head, Outputs
from edgeadapt.scoring import Source as FitSource
from edgeadapt.tensors import FloatArray
from edgeadapt_device.config import EngineSection
from edgeadapt_device.io.engines import Engine, Session, open_engine
from edgeadapt_models.compile import compile_module
from edgeadapt_models.compile.source.frames import Frames
from edgeadapt_models.train.split import split
from edgeadapt_models.zoo.tempered import temperatures
from edgeadapt_sim.bench.ood.students import Student

_BATCH = 250

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Source:
    """What the base model says of its source.

    Attributes:
        fit: outputs of images that it was trained on.
        fit_labels: [N] their classes.
        holdout: outputs of images that it was not trained on.
        holdout_images: those.
        head: its linear head; None where it has none.
    """

    fit: Outputs
    fit_labels: npt.NDArray[np.int64]
    holdout: Outputs
    holdout_images: Images
    head: Head | None

    @property
    def material(self) -> FitSource:
        """What scorers are fitted on."""
        return FitSource(self.fit, self.fit_labels, self.head)

    @property
    def there(self) -> frozenset[str]:
        """What scorers that need something find."""
        found = {"logits", "embedding", "style"}
        found |= {"head"} if self.head is not None else set()
        return frozenset(found | ({"temperature"} if self.fit.temperature is not None else set()))


class Model:
    """One student, compiled."""

    def __init__(self, student: Student, frames: int) -> None:
        """Compile it; scorers may be fitted on so many `frames`."""
        self.student = student
        parts = split(student.known)
        fit = Frames(parts.fit.images, parts.fit.labels).sample(frames)
        with tempfile.TemporaryDirectory(prefix="edgeadapt-ood-") as scratch:
            done = compile_module(
                student.network,
                name=student.recipe.name,
                classes=student.known.classes,
                spec=InputSpec((fit.frames.shape[3], *fit.frames.shape[1:3])),
                data=fit,
                out=Path(scratch) / "bundle",
            )
        self.bundle: Bundle = done.bundle
        self._engine: Engine = open_engine(self.bundle, EngineSection("onnxruntime", "float32"))
        self.base = self._engine.build({})
        assert fit.labels is not None
        holdout = parts.holdout.images[:frames]
        labels = np.asarray(fit.labels, dtype=np.int64)
        self.source = Source(
            self.outputs(self.base, fit.frames),
            labels,
            self.outputs(self.base, holdout),
            holdout,
            self._head(),
        )

    def session(self, values: SlotValues) -> Session:
        """A session with these values over the base's."""
        return self._engine.build(values)

    def outputs(self, session: Session, images: Images) -> Outputs:
        """What the session says of images [N, H, W, C], style and temperature too."""
        parts = [session.run(images[at : at + _BATCH], probe=True) for at in range(0, len(images), _BATCH)]
        style = []
        for part in parts:
            assert part.mean is not None
            assert part.mean_square is not None
            style.append(signature.features(self.bundle.manifest, part.mean, part.mean_square))
        embedding = np.concatenate([part.embedding for part in parts])
        return Outputs(
            np.concatenate([part.logits for part in parts]),
            embedding,
            np.concatenate(style),
            temperatures(self.student.network, embedding),
        )

    def settle(self, patch: Mapping[str, FloatArray], frames: Images) -> dict[str, FloatArray]:
        """Slot values with statistics that settled on the frames, from the base's or the patch's."""
        manifest, calibration = self.bundle.manifest, self.bundle.calibration
        config = StatisticsConfig()
        mean, var = statistics_of_slots(manifest, dict(patch), calibration.norm_mean, calibration.norm_var)
        estimate = NormEstimator(mean, var, config, len(manifest.classes))
        values = {**patch, **statistics_slots(manifest, mean, var)}
        for at in range(0, len(frames), config.frames_per_update):
            scores = self.session(values).run(frames[at : at + config.frames_per_update], probe=True)
            assert scores.mean is not None
            assert scores.mean_square is not None
            estimate.update(scores.mean, scores.mean_square, scores.logits.argmax(axis=1))
            values = {**patch, **statistics_slots(manifest, estimate.mean, estimate.var)}
        return values

    def _head(self) -> Head | None:
        """The network's own, where logits are linear in the embedding."""
        network = self.student.network
        weight = network.head.weight.detach().numpy()
        if temperatures(network, np.zeros((1, weight.shape[1]), np.float32)) is not None:
            return None
        return Head(weight.copy(), network.head.bias.detach().numpy().copy())
