"""Windows that slide over an image: strides, dilations, and padding as LiteRT knows it.

LiteRT pads by rule: VALID not at all, SAME so that the output has ceil(input / stride) places, with the odd
pixel at the end. ONNX gives numbers. Where the numbers are those of a rule the rule is used; elsewhere a PAD
operator goes first, which XNNPACK merges into a convolution behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgeadapt_models.compile.tflite.lower.context import Context, Op, attributes
from edgeadapt_models.compile.tflite.lower.layout import Shape, channels_last, stored_shape

SAME: int = schema.Padding.SAME
VALID: int = schema.Padding.VALID


@dataclass(frozen=True, slots=True)
class Window:
    """A window over the two spatial axes (a series has a height of 1).

    Attributes:
        kernel, strides, dilations: per axis (height, width).
        begin, end: explicit padding per axis.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    begin: tuple[int, int]
    end: tuple[int, int]

    @staticmethod
    def of(context: Context, node: onnx.NodeProto, kernel: tuple[int, ...]) -> Window:
        """Read the node's attributes; `kernel` is what its weights or kernel_shape say.

        Raises:
            CompileError: the window has three axes or more.
        """
        values = attributes(node)
        count = len(kernel)
        if count not in (1, 2):
            raise context.fail(node, f"its window has {count} axes")
        strides = tuple(values.get("strides", (1,) * count))
        dilations = tuple(values.get("dilations", (1,) * count))
        reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
        size = context.shape(node.input[0])[2:]
        places = context.shape(node.output[0])[2:]
        begin, end = _padding(values, size, places, strides, reach)
        return Window(_two(kernel, 1), _two(strides, 1), _two(dilations, 1), _two(begin, 0), _two(end, 0))

    @property
    def reach(self) -> tuple[int, int]:
        """Pixels from the first to the last of the window."""
        return _pair(tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)))

    @property
    def padded(self) -> bool:
        """Whether there is any padding."""
        return any(self.begin) or any(self.end)

    def rule(self, size: Shape, places: Shape) -> int | None:
        """SAME or VALID if one of them means just this padding."""
        if not self.padded:
            return VALID
        for axis in (0, 1):
            stride, reach = self.strides[axis], self.reach[axis]
            if places[axis] != -(-size[axis] // stride):
                return None
            total = max((places[axis] - 1) * stride + reach - size[axis], 0)
            if (self.begin[axis], self.end[axis]) != (total // 2, total - total // 2):
                return None
        return SAME


def spatial(shape: Shape) -> tuple[int, int]:
    """Height and width of a logical [N, C, (H,) W]."""
    return _two(shape[2:], 1)


def pad(context: Context, name: str, window: Window, value: float = 0.0) -> tuple[int, Shape]:
    """The value channels last, with the window's padding around it; returns the tensor and its shape."""
    order = channels_last(context.rank(name))
    shape = stored_shape(context.shape(name), order)
    tensor = context.stored(name, order)
    amounts = [(0, 0), *zip(window.begin, window.end, strict=True), (0, 0)]
    padded = tuple(size + sum(amount) for size, amount in zip(shape, amounts, strict=True))
    inputs = [tensor, context.literal(np.array(amounts, np.int32))]
    if value == 0.0:
        return context.emit(Op.PAD, inputs, padded, schema.PadOptionsT()), padded
    inputs.append(context.literal(np.array(value, np.float32)))
    return context.emit(Op.PADV2, inputs, padded, schema.PadV2OptionsT()), padded


def set_window(options: Any, window: Window, padding: int) -> None:
    """Fill in what all windowed operators' options have."""
    options.padding = padding
    options.strideH, options.strideW = window.strides


def _padding(
    values: dict[str, Any], size: Shape, places: Shape, strides: Shape, reach: Shape
) -> tuple[Shape, Shape]:
    """Padding before and after each axis. What an output place needs beyond the pads (ceil_mode) is added."""
    count = len(size)
    pads = list(values.get("pads", (0,) * (2 * count)))
    needed = [(p - 1) * s + r - i for p, s, r, i in zip(places, strides, reach, size, strict=True)]
    mode = values.get("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        total = [max(amount, 0) for amount in needed]
        small = tuple(amount // 2 for amount in total)
        large = tuple(amount - amount // 2 for amount in total)
        return (small, large) if mode == "SAME_UPPER" else (large, small)
    begin, end = tuple(pads[:count]), pads[count:]
    if mode == "VALID":
        return (0,) * count, (0,) * count
    return begin, tuple(max(e, n - b) for e, n, b in zip(end, needed, begin, strict=True))


def _two(values: tuple[int, ...], missing: int) -> tuple[int, int]:
    return _pair((missing, *values) if len(values) == 1 else values)


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    first, second = values
    return first, second
