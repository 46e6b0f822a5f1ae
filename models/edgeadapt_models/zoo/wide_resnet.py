"""The teacher: a wide residual network (after Zagoruyko and Komodakis 2016, arXiv 1605.07146).

Widths 64/128/256, two blocks per stage, about 2.8 M parameters. The stem halves the resolution, so most of
the work is at 14x14 or 16x16: a few GFLOP per 128 images, which two CPU threads can train in half an hour.

Behind the normalisation of the input it standardises every image by itself, so that a change of exposure,
contrast or veil reaches the network weakened. A student on a device has no such layer to fold.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgeadapt_models.zoo.base import Classifier, InputSpec
from edgeadapt_models.zoo.registry import network
from edgeadapt_models.zoo.residual import ResidualNetwork

FLOOR = 0.05
"""Added to the spread of an image, so that an empty one is not blown up to noise."""


class WideResNet(ResidualNetwork):
    """`ResidualNetwork` on images that are brought to mean 0 and spread 1, one by one."""

    def embed(self, x: Tensor) -> Tensor:
        spread, centre = torch.std_mean(x, dim=(1, 2, 3), keepdim=True)
        return super().embed((x - centre) / (spread + FLOOR))


@network("wide_resnet")
def wide_resnet(spec: InputSpec) -> Classifier:
    """Build an untrained teacher; D = 256."""
    return WideResNet(spec, stem_width=64, widths=(64, 128, 256), blocks_per_stage=2, stem_stride=2)
