"""Orders of axes, against numpy: whatever the layout says must be where numpy puts it."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgeadapt_models.compile.tflite.lower.layout import (
    UNIT,
    Order,
    after_transpose,
    align,
    channels_last,
    identity,
    moving,
    reshape_orders,
    stored_shape,
    without,
)

Shape = tuple[int, ...]

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=5).map(tuple)


def stored(value: Any, order: Order) -> Any:
    """What storing `value` in `order` means."""
    return value.transpose([axis for axis in order if axis != UNIT]).reshape(stored_shape(value.shape, order))


@st.composite
def orders(draw: st.DrawFn, shape: Shape) -> Order:
    """Any order of the axes, with axes of storage in between."""
    order = list(draw(st.permutations(range(len(shape)))))
    for _ in range(draw(st.integers(0, 2))):
        order.insert(draw(st.integers(0, len(order))), UNIT)
    return tuple(order)


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[Shape, Shape, Order]:
    """A shape, another one with as many elements, and an order of the first."""
    factors = draw(st.lists(st.sampled_from([2, 3, 5]), max_size=5))

    def grouped() -> Shape:
        cuts = sorted(draw(st.lists(st.integers(0, len(factors)), max_size=3)))
        bounds = [0, *cuts, len(factors)]
        return tuple(prod(factors[a:b]) for a, b in pairwise(bounds))

    source = grouped()
    return source, grouped(), draw(orders(source))


@given(st.data())
def test_a_transposed_value_lies_where_it_lay(data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    order = data.draw(orders(shape))
    permutation = data.draw(st.permutations(range(len(shape))))
    value = np.arange(prod(shape)).reshape(shape)
    turned = value.transpose(permutation)
    assert np.array_equal(stored(turned, after_transpose(order, permutation)), stored(value, order))


@given(reshapes())
def test_a_reshape_keeps_the_numbers_that_it_may(example: tuple[Shape, Shape, Order]) -> None:
    source, target, order = example
    value = np.arange(prod(source)).reshape(source)
    wanted, result = reshape_orders(source, target, order)
    ones = [axis for axis, size in enumerate(source) if size == 1]
    flat = value.transpose([*ones, *wanted]).reshape(-1)
    assert np.array_equal(flat, stored(value.reshape(target), result).reshape(-1))


@given(SHAPES)
def test_a_reshape_of_what_lies_in_order_moves_nothing(shape: Shape) -> None:
    wanted, result = reshape_orders(shape, (prod(shape),), identity(len(shape)))
    assert wanted == moving(shape, identity(len(shape)))
    assert result == (0,)


def test_pixels_merge_without_being_moved() -> None:
    """[N, C, H, W] to [N, C, pixels], as in front of a transformer."""
    wanted, result = reshape_orders((1, 8, 4, 5), (1, 8, 20), channels_last(4))
    assert wanted == moving((1, 8, 4, 5), channels_last(4))
    assert moving((1, 8, 20), result) == (2, 1)


@given(st.data())
def test_a_reduced_value_is_numbered_anew(data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    order = data.draw(orders(shape))
    axes = data.draw(st.sets(st.integers(0, len(shape) - 1)))
    value = np.arange(prod(shape)).reshape(shape)
    places = tuple(i for i, axis in enumerate(order) if axis == UNIT or axis in axes)
    reduced = stored(value, order).sum(axis=places)
    assert np.array_equal(stored(value.sum(axis=tuple(axes)), without(order, tuple(axes))), reduced)


@given(st.data())
def test_a_broadcast_operand_meets_the_same_numbers(data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    order = data.draw(orders(shape))
    lower = data.draw(st.integers(1, len(shape)))
    small = tuple(data.draw(st.sampled_from([1, size])) for size in shape[-lower:])
    value, operand = np.arange(prod(shape)).reshape(shape), np.arange(prod(small)).reshape(small)
    joined = stored(value, order) + stored(operand, align(order, len(shape), lower))
    assert np.array_equal(joined, stored(value + operand, order))
