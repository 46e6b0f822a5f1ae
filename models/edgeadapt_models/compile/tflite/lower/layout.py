"""In which order the axes of a value are stored.

ONNX talks of *logical* axes (images: N, C, H, W); LiteRT stores images as N, H, W, C. A value is stored in an
`Order`: entry i says which logical axis the stored axis i holds; `UNIT` is an axis of length 1 that only
storage has (a 1-D convolution runs as a 2-D one of height 1). Transposing a value in ONNX therefore costs
nothing: only the order changes, and data moves when an operator asks for an order that is not there yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import TypeAlias

Shape: TypeAlias = tuple[int, ...]
Order: TypeAlias = tuple[int, ...]

UNIT = -1


def identity(rank: int) -> Order:
    """Stored as ONNX says."""
    return tuple(range(rank))


def channels_last(rank: int) -> Order:
    """Batch, space, channels; a series [N, C, L] gets a height of 1."""
    return (0, UNIT, 2, 1) if rank == 3 else (0, *range(2, rank), 1)


def stored_shape(shape: Shape, order: Order) -> Shape:
    """The shape of what is stored."""
    return tuple(1 if axis == UNIT else shape[axis] for axis in order)


def moving(shape: Shape, order: Order) -> Order:
    """The axes that matter for where a number lies: those longer than 1, as stored."""
    return tuple(axis for axis in order if axis != UNIT and shape[axis] > 1)


def after_transpose(order: Order, permutation: Sequence[int]) -> Order:
    """The order of ``transpose(x, permutation)`` when nothing is moved: its axis i is x's permutation[i]."""
    place = {axis: index for index, axis in enumerate(permutation)}
    return tuple(UNIT if axis == UNIT else place[axis] for axis in order)


def without(order: Order, axes: Sequence[int]) -> Order:
    """The order after logical `axes` (and `UNIT`) are dropped from storage and from the numbering."""
    dropped = set(axes)
    kept = [axis for axis in order if axis != UNIT and axis not in dropped]
    return tuple(axis - sum(gone < axis for gone in dropped) for axis in kept)


def align(order: Order, rank: int, lower: int) -> Order:
    """`order` of a value of `rank`, for one of the lower rank that is broadcast to it (from the right)."""
    missing = rank - lower
    aligned = [UNIT if axis < missing else axis - missing for axis in order]
    while len(aligned) > lower and aligned[0] == UNIT:
        aligned.pop(0)
    return tuple(aligned)


def reshape_orders(source: Shape, target: Shape, order: Order) -> tuple[Order, Order]:
    """How to reshape without moving more than needed.

    A reshape splits or merges neighbouring axes. Cut into the smallest blocks that hold the same numbers on
    both sides, a block may lie anywhere in storage as long as its own axes lie together and in order.

    Args:
        source, target: logical shapes with the same number of elements.
        order: how the source is stored.

    Returns:
        The order that the source must be brought to (equal to `moving(order)` up to axes of length 1 when
        nothing has to move), and the order of the result when those bytes are taken as its own.
    """
    blocks = _blocks(source, target)
    place = {axis: index for index, axis in enumerate(order)}
    # A block that lies in pieces gathers where its last piece lies: what is contiguous stays so.
    blocks.sort(key=lambda block: max(place[axis] for axis in block[0]))
    wanted = tuple(axis for block in blocks for axis in block[0])
    result = tuple(axis for block in blocks for axis in block[1])
    ones = tuple(axis for axis, size in enumerate(target) if size == 1)
    if all(a < b for a, b in pairwise(result)):
        return wanted, identity(len(target))
    return wanted, (*ones, *result)


def _blocks(source: Shape, target: Shape) -> list[tuple[list[int], list[int]]]:
    """Pairs of axes (longer than 1) of source and target that hold the same numbers."""
    left = [axis for axis, size in enumerate(source) if size != 1]
    right = [axis for axis, size in enumerate(target) if size != 1]
    blocks: list[tuple[list[int], list[int]]] = []
    while left or right:
        a, b = [left.pop(0)], [right.pop(0)]
        while (p := prod(source[i] for i in a)) != (q := prod(target[i] for i in b)):
            if p < q:
                a.append(left.pop(0))
            else:
                b.append(right.pop(0))
        blocks.append((a, b))
    return blocks
