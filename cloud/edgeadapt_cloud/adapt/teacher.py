"""The frozen teacher: a robust network of high capacity that labels uploads softly.

Only its normalisation statistics follow a cohort (forward passes on the cohort's samples, shrunk towards
the source); its weights never change. Labels average two views of a sample. They are made anew for every
job: those of a former job would come from other statistics, and labelling 1,024 samples costs about a
third of what teaching costs. Not here: what is learned from labels, and whether to believe them (`gate`).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgeadapt_cloud.adapt.settings import TeacherSettings
from edgeadapt_cloud.adapt.student import batch_norms, predict, settle
from edgeadapt_cloud.adapt.views import mirrored


class Teacher:
    """Labels samples. One thread at a time."""

    def __init__(self, network: nn.Module, settings: TeacherSettings) -> None:
        self._settings = settings
        self._base = copy.deepcopy(network).eval().requires_grad_(False)
        self._network = _channels_last(copy.deepcopy(self._base))

    def settle(self, images: Tensor) -> None:
        """Re-estimate the statistics from float32 [N, C, H, W]; N < 2 leaves those of the source."""
        self._network.load_state_dict(self._base.state_dict())
        if len(images) < 2:
            return
        settle(self._network, images)
        share = len(images) / (len(images) + self._settings.prior_images)
        for own, source in zip(batch_norms(self._network), batch_norms(self._base), strict=True):
            _mix(own, source, share)

    def probabilities(self, images: Tensor) -> Tensor:
        """Class probabilities float32 [N, K], averaged over the views: the soft labels of these images."""
        first = predict(self._network, images)
        if self._settings.views < 2:
            return first
        return (first + predict(self._network, mirrored(images))) / 2

    def network(self) -> nn.Module:
        """A copy of the teacher as trained, for strategies that adapt the teacher too."""
        return _channels_last(copy.deepcopy(self._base))


def _channels_last(network: nn.Module) -> nn.Module:
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def _mix(own: _BatchNorm, source: _BatchNorm, share: float) -> None:
    """Moments of a mixture: `share` of the own frames, the rest of the source's."""
    mean, var = own.running_mean, own.running_var
    if mean is None or var is None or source.running_mean is None or source.running_var is None:
        return
    square = torch.lerp(source.running_var + source.running_mean**2, var + mean**2, share)
    mean.copy_(torch.lerp(source.running_mean, mean, share))
    var.copy_((square - mean**2).clamp_min(1e-8))
