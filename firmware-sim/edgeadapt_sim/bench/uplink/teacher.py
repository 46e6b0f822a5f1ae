"""The teacher as a line of reference: accuracy on held-out frames, settled as the cloud settles it."""

from __future__ import annotations

from edgeadapt_cloud.adapt.settings import TeacherSettings
from edgeadapt_cloud.adapt.teacher import Teacher
from edgeadapt_cloud.adapt.views import as_tensor
from edgeadapt_models.zoo import load_pretrained
from edgeadapt_sim.bench.uplink.streams import Frames, Labels


def teacher_accuracy(name: str, frames: Frames, truth: Labels) -> float:
    """Share (0 to 1) of the held-out frames that the teacher tells rightly."""
    settings = TeacherSettings()
    teacher = Teacher(load_pretrained(name), settings)
    every = max(len(frames.stream) // settings.statistics_images, 1)
    teacher.settle(as_tensor(frames.stream[::every][: settings.statistics_images]))
    predicted = teacher.probabilities(as_tensor(frames.held_out)).argmax(dim=1).numpy()
    return float((predicted == truth).mean())
