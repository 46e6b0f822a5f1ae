"""Accuracy as a device of the cohort would have it: its engine, its own statistics, held-out frames.

Statistics are re-estimated on unlabelled frames of the stream under the values in question, by the device's
own code, before a frame is counted. Labels enter here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from edgeadapt.bundle import Bundle
from edgeadapt.normstats import StatisticsConfig, statistics_slots
from edgeadapt.tensors import FloatArray
from edgeadapt_cloud.adapt.student import Student
from edgeadapt_cloud.adapt.views import as_tensor
from edgeadapt_device.config import EngineSection
from edgeadapt_device.core.adapt.statistics import OwnStatistics
from edgeadapt_device.io.engines import Session, open_engine
from edgeadapt_models.zoo import load_pretrained
from edgeadapt_sim.bench.uplink.streams import Images, Labels

SETTLING = 512
"""Frames of the stream on which statistics settle under a candidate."""
_PIECE = 16
_BATCH = 250

Values = Mapping[str, FloatArray]


class Field:
    """Measures slot values in one domain."""

    def __init__(self, bundle: Bundle, student: str, stream: Images, held_out: Images, truth: Labels) -> None:
        """Take frames of the stream [N, H, W, C] to settle on, and held-out frames with their labels."""
        self._bundle = bundle
        self._engine = open_engine(bundle, EngineSection())
        self._student = Student(load_pretrained(student), bundle.manifest, bundle.base_slots())
        picked = np.random.default_rng(len(stream)).permutation(len(stream))[:SETTLING]
        self._settling, self._held_out, self._truth = stream[np.sort(picked)], held_out, truth

    def frozen(self) -> float:
        """Accuracy of the base."""
        return self._accuracy(self._engine.build({}))

    def deployed(self, values: Values) -> float:
        """Accuracy with `values` over the base, and the device's own statistics under them."""
        own = OwnStatistics(self._bundle, StatisticsConfig())
        own.restart("measured", *own.of_patch(values))
        session = self._engine.build(own.own_values(values))
        for start in range(0, len(self._settling), _PIECE):
            if own.moved:
                own.asked_for()
                session = self._engine.build(own.own_values(values))
            self._settle(own, session, self._settling[start : start + _PIECE])
        return self._accuracy(self._engine.build(own.own_values(values)))

    def reestimated(self, uploads: Images) -> float:
        """Accuracy of the base with statistics that come from these uploads [N, H, W, C] alone, N >= 2."""
        self._student.load({})
        reached = self._student.settle(as_tensor(uploads))
        slots = statistics_slots(self._bundle.manifest, *self._all_channels(reached.mean, reached.var))
        return self._accuracy(self._engine.build(slots))

    def _all_channels(self, mean: object, var: object) -> tuple[FloatArray, FloatArray]:
        calibration = self._bundle.calibration
        whole = calibration.norm_mean.copy(), calibration.norm_var.copy()
        for target, found in zip(whole, (mean, var), strict=True):
            part = np.asarray(found, dtype=np.float32)
            target[: len(part)] = part
        return whole

    @staticmethod
    def _settle(own: OwnStatistics, session: Session, images: Images) -> None:
        scores = session.run(images, probe=True)
        assert scores.mean is not None
        assert scores.mean_square is not None
        for number, logits in enumerate(scores.logits):
            predicted = int(logits.argmax())
            own.see(predicted, scores.embedding[number], own.patch)
            own.add(scores.mean[number], scores.mean_square[number], predicted, own.patch)
        own.fold()

    def _accuracy(self, session: Session) -> float:
        parts = [
            session.run(self._held_out[start : start + _BATCH], probe=False).logits
            for start in range(0, len(self._held_out), _BATCH)
        ]
        predicted: npt.NDArray[np.int64] = np.concatenate(parts).argmax(axis=1)
        return float((predicted == self._truth).mean())
