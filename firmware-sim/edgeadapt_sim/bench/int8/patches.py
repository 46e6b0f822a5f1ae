"""A real norm patch for a domain: the cloud's own strategy and rules, with a teacher that is right.

The teacher's mistakes are no business of this study, and its labels would take most of its time. It knows
the labels of the uploads and of the source's holdout by their pixels; all else is what a cloud does.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgeadapt.bundle import Bundle
from edgeadapt.errors import ConfigError
from edgeadapt.tensors import FloatArray
from edgeadapt_cloud.adapt import Adapter, AdaptSettings, LabelledSource, Networks
from edgeadapt_cloud.adapt.settings import AnchoredSettings, GateSettings, SourceSettings, TeacherSettings
from edgeadapt_cloud.adapt.student import Student
from edgeadapt_cloud.adapt.views import as_tensor
from edgeadapt_models.data import Dataset
from edgeadapt_models.zoo import load_pretrained
from edgeadapt_sim.bench.offline import offline_job

_SURE = 8.0

Images = npt.NDArray[np.uint8]


class _Labels(nn.Module):
    """Logits [N, K] of images whose labels are known, else of the first class."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self._classes = classes
        self._known: dict[bytes, int] = {}

    def __deepcopy__(self, _: object) -> _Labels:
        """A teacher works on copies of its network: they go on learning."""
        return self

    def learn(self, images: Images, labels: npt.NDArray[np.int64]) -> None:
        """Remember the labels [N] of images [N, H, W, C]."""
        for image, label in zip(as_tensor(images), labels.tolist(), strict=True):
            self._known[_key(image)] = label

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As any network of the zoo; the embedding is the logits."""
        known = torch.tensor([self._known.get(_key(image), 0) for image in x])
        logits = nn.functional.one_hot(known, self._classes).float() * _SURE
        return logits, logits


class PatchMaker:
    """Makes patches for one student. One thread at a time."""

    def __init__(self, student: str, dataset: Dataset, bundle: Bundle, *, steps: int) -> None:
        """`bundle` is the student's; patches take `steps` and are such that all its models can run them."""
        self._bundle = bundle
        self._network = load_pretrained(student)
        self._labels = _Labels(len(dataset.classes))
        settings = AdaptSettings(
            student=student,
            teacher=student,
            source=SourceSettings(replay_images=4000, holdout_images=400),
            teaching=TeacherSettings(views=1),
            anchored=AnchoredSettings(steps=steps),
            # Whether a patch is good is not the question: every one is measured.
            gate=GateSettings(
                min_unseen=1,
                max_source_loss=1.0,
                min_agreement_gain=-1.0,
                min_teacher_margin=-1.0,
                min_class_spread=0.0,
            ),
        )
        source = LabelledSource.of(dataset, settings.source)
        self._labels.learn(source.holdout.images, source.holdout.labels)
        self._adapter = Adapter(settings, bundle, source, Networks(self._network, self._labels))

    def make(self, images: Images, labels: npt.NDArray[np.int64], *, seed: int) -> dict[str, FloatArray]:
        """The patch for a domain.

        Args:
            images: uint8 [N, H, W, C] of the domain: the uploads.
            labels: [N].
            seed: of the strategy's choices.

        Raises:
            ConfigError: no patch came out; says what the gate found.
        """
        self._labels.learn(images, labels)
        student = Student(self._network, self._bundle.manifest, self._bundle.base_slots())
        student.settle(as_tensor(images))
        reached = student.statistics()
        request, lanes = offline_job(
            self._bundle.digest, images, reached.mean.numpy(), reached.var.numpy(), seed
        )
        result = self._adapter.run(request, images, lanes)
        if not result.verdict.passed:
            failed = [
                f"{entry.check} ({entry.detail})" for entry in result.verdict.evidence if not entry.passed
            ]
            raise ConfigError(f"no patch could be made: {', '.join(failed)}")
        return dict(result.values)


def _key(image: Tensor) -> bytes:
    return hashlib.sha256(image.contiguous().numpy().tobytes()).digest()
