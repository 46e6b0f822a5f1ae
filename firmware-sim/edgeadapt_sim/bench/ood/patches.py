"""Norm patches as a cloud makes them: strategy `anchored`, labels from the zoo's teacher.

The teacher knows all classes of the data set, the student not: its logits of classes that the student has
never seen are left out, so that it labels uploads with known classes only, unknown frames among them too.
Whether the gate would publish a patch is not asked: every one is measured.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgeadapt.bundle import Bundle
from edgeadapt.tensors import FloatArray
from edgeadapt_cloud.adapt import Adapter, AdaptSettings, LabelledSource, Networks
from edgeadapt_cloud.adapt.settings import AnchoredSettings, GateSettings, SourceSettings, TeacherSettings
from edgeadapt_cloud.adapt.student import Student as Taught
from edgeadapt_cloud.adapt.views import as_tensor
from edgeadapt_models.zoo import Classifier, load_pretrained
from edgeadapt_sim.bench.offline import offline_job
from edgeadapt_sim.bench.ood.students import Student

Images = npt.NDArray[np.uint8]


class KnownClasses(nn.Module):
    """A network without the logits of some classes."""

    def __init__(self, network: Classifier, left_out: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.network = network
        self._stays = [number for number in range(classes) if number not in left_out]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, embedding = self.network(x)
        return logits[:, self._stays], embedding


class PatchMaker:
    """Makes patches for one student. One thread at a time."""

    def __init__(self, student: Student, bundle: Bundle, *, steps: int) -> None:
        """`bundle` is the student's; patches take `steps`."""
        teacher = load_pretrained(f"{student.whole.name}/teacher")
        self._bundle, self._network = bundle, student.network
        settings = AdaptSettings(
            student=student.recipe.name,
            source=SourceSettings(replay_images=4000, holdout_images=400),
            teaching=TeacherSettings(views=1),
            anchored=AnchoredSettings(steps=steps),
            gate=GateSettings(max_teacher_class_share=1.0, min_unseen=1),
        )
        source = LabelledSource.of(student.known, settings.source)
        known = KnownClasses(teacher, student.held_out, len(student.whole.classes))
        self._adapter = Adapter(settings, bundle, source, Networks(student.network, known))

    def make(self, images: Images, *, seed: int) -> dict[str, FloatArray]:
        """The patch for a domain.

        Args:
            images: uint8 [N, H, W, C] of the domain: the uploads.
            seed: of the strategy's choices.
        """
        student = Taught(self._network, self._bundle.manifest, self._bundle.base_slots())
        student.settle(as_tensor(images))
        reached = student.statistics()
        request, lanes = offline_job(
            self._bundle.digest, images, reached.mean.numpy(), reached.var.numpy(), seed
        )
        taught, _ = self._adapter.propose(request, images, lanes)
        return dict(taught.values)


def one_thread() -> None:
    """Studies run beside others: torch takes one thread."""
    torch.set_num_threads(1)
