"""Images as tensors, and the small changes that leave their class alone.

uint8 [N, H, W, C] outside, float32 [N, C, H, W] in [0, 1] inside. Randomness comes from the generator.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional


def as_tensor(images: npt.NDArray[np.uint8]) -> Tensor:
    """uint8 [N, H, W, C] to float32 [N, C, H, W] in [0, 1], channels last in memory."""
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float().div_(255.0)
    return pixels.contiguous(memory_format=torch.channels_last)


def mirrored(images: Tensor) -> Tensor:
    """The mirror images, left to right."""
    return images.flip(3)


def jitter(images: Tensor, *, flip: bool, shift: int, generator: torch.Generator) -> Tensor:
    """Each image mirrored with probability 1/2 (if `flip`), the batch shifted by at most `shift` pixels.

    What comes in at an edge is mirrored there, so an image can be shifted by its side less one at most.
    """
    shift = min(shift, *(side - 1 for side in images.shape[-2:]))
    if flip:
        coin = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
        images = torch.where(coin, mirrored(images), images)
    if shift:
        down, right = torch.randint(0, 2 * shift + 1, (2,), generator=generator).tolist()
        height, width = images.shape[-2:]
        padded = functional.pad(images, (shift, shift, shift, shift), mode="reflect")
        images = padded[:, :, down : down + height, right : right + width]
    return images.contiguous(memory_format=torch.channels_last)
