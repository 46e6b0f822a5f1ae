"""How strong a severity is at a given image size.

Two published tables exist per corruption: CIFAR-10-C (32 pixels) and ImageNet-C (224 pixels). Images of up
to 64 pixels use the first; between 64 and 224 the constants are interpolated in the logarithm of the size;
from 224 on the second holds. Constants that are lengths in pixels keep growing with the image above 224.
The size of an image is its shorter side.
"""

import math
from dataclasses import dataclass

SMALL_SIDE = 64
LARGE_SIDE = 224


@dataclass(frozen=True, slots=True)
class Scale:
    """One constant at the five severities, for small and for large images.

    Attributes:
        small: values at severities 1 to 5 up to ``SMALL_SIDE`` pixels.
        large: values at severities 1 to 5 at ``LARGE_SIDE`` pixels.
        is_length: the values are pixels and grow with the image above ``LARGE_SIDE``.
    """

    small: tuple[float, float, float, float, float]
    large: tuple[float, float, float, float, float]
    is_length: bool = False

    def at(self, severity: int, side: int) -> float:
        """The constant at ``severity`` (1 to 5) for an image whose shorter side is ``side`` pixels."""
        small, large = self.small[severity - 1], self.large[severity - 1]
        if side <= SMALL_SIDE:
            return small
        if side >= LARGE_SIDE:
            return large * (side / LARGE_SIDE if self.is_length else 1.0)
        share = math.log(side / SMALL_SIDE) / math.log(LARGE_SIDE / SMALL_SIDE)
        return small + share * (large - small)
