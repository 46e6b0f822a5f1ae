"""What a converter sees: the ONNX graph, the values stored so far, and the subgraph that it writes to.

A value may be stored in several orders; `stored` gives the tensor of one, moving data only when no stored
form will do. Constants are laid out at compile time. So are *mutable* initializers, whose bytes a device
rewrites; each of them has a key of its own for every order, and the ledger remembers it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import helper

from edgeadapt.errors import CompileError
from edgeadapt_models.compile.tflite.file.program import Array, Constants, Operator, Subgraph, Tensor
from edgeadapt_models.compile.tflite.lower.layout import (
    UNIT,
    Order,
    Shape,
    identity,
    moving,
    stored_shape,
)
from edgeadapt_models.compile.tflite.lower.ledger import Fold, Ledger, Placement
from edgeadapt_models.compile.tflite.lower.source import Source

Op = schema.BuiltinOperator

UNNAMED = "between/"
"""What the names of tensors begin with that hold no value of the ONNX graph."""


@dataclass(frozen=True, slots=True)
class Form:
    """A tensor that holds a value in an order."""

    tensor: int
    order: Order


@dataclass(slots=True)
class Context:
    """One subgraph while it is written.

    Attributes:
        source: the ONNX graph.
        subgraph: what has been written.
        constants: shared with the other subgraphs.
        ledger: shared with the other subgraphs.
        folds: norm layers to fold, by the value that the convolution or matrix before them computes.
        affine: norm layers with statistics that are not folded, by their output.
        done: names of values that need no operator of their own any more.
    """

    source: Source
    subgraph: Subgraph
    constants: Constants
    ledger: Ledger
    folds: Mapping[str, Fold]
    affine: Mapping[str, str]
    done: set[str] = field(default_factory=set)
    _forms: dict[str, list[Form]] = field(default_factory=dict)

    def shape(self, name: str) -> Shape:
        """The logical shape of a value."""
        return self.source.trace.shape(name)

    def rank(self, name: str) -> int:
        """The number of its logical axes."""
        return len(self.shape(name))

    def constant(self, name: str) -> Array | None:
        """Its value if that never changes."""
        return self.source.trace.constant(name)

    def initial(self, name: str) -> Array | None:
        """Its value if that is the same for every input: a constant, or a mutable initializer at its base."""
        mutable = name in self.source.initializers
        return self.source.trace.samples[name] if mutable else self.constant(name)

    def define(self, name: str, tensor: int, order: Order | None = None) -> None:
        """`tensor` holds the value `name`; the first value that it holds gives it its name."""
        self._name(tensor, name)
        form = Form(tensor, identity(self.rank(name)) if order is None else order)
        self._forms.setdefault(name, []).append(form)

    def order(self, name: str) -> Order:
        """The order in which the value is stored first; a constant's own."""
        forms = self._forms.get(name)
        return forms[0].order if forms else identity(self.rank(name))

    def stored(self, name: str, order: Order | None = None) -> int:
        """The tensor that holds the value in `order` (None: as ONNX has it)."""
        order = identity(self.rank(name)) if order is None else order
        value = self.initial(name)
        if value is not None:
            packed = pack(value, order)
            if self.constant(name) is not None:
                return self.literal(packed, name)
            key = f"{name}/{','.join(map(str, moving(value.shape, order)))}"
            return self.parameter(key, packed, name, Placement(key, name, order))
        forms = self._known(name)
        for form in forms:
            if form.order == order:
                return form.tensor
        tensor = self._reordered(name, order)
        self._name(tensor, name)
        forms.append(Form(tensor, order))
        return tensor

    def stored_flat(self, name: str, moving_axes: Order) -> int:
        """A tensor of any shape whose numbers lie in the order of `moving_axes` (those longer than 1)."""
        if self.initial(name) is None:
            for form in self._known(name):
                if moving(self.shape(name), form.order) == moving_axes:
                    return form.tensor
        ones = [axis for axis, size in enumerate(self.shape(name)) if size == 1]
        return self.stored(name, (*ones, *moving_axes))

    def literal(self, value: Array, name: str = "literal") -> int:
        """A constant tensor; equal values are stored once."""
        digest = hashlib.sha256(f"{value.dtype}{value.shape}".encode() + value.tobytes()).hexdigest()
        return self.parameter(f"literal/{digest}", value, name)

    def parameter(self, key: str, value: Array, name: str = "", placement: Placement | None = None) -> int:
        """A constant tensor with a key of its own, to be found again in the file."""
        if value.dtype == np.float64 or value.dtype == np.float16:
            raise CompileError(f"{name or key!r} is {value.dtype.name}; --target tflite takes float32 models")
        self.constants.add(key, value)
        if placement is not None:
            self.ledger.placements[key] = placement
        return self.subgraph.add(Tensor(name or key, value.shape, value.dtype, key))

    def view(self, tensor: int, shape: Shape) -> int:
        """A constant tensor once more, under another shape."""
        known = self.subgraph.tensors[tensor]
        return self.subgraph.add(Tensor(known.name, shape, known.dtype, known.constant))

    def emit(
        self,
        code: int,
        inputs: Sequence[int],
        shape: Shape,
        options: Any = None,
        *,
        version: int = 1,
    ) -> int:
        """Write an operator with one float32 output of the stored `shape`; returns that tensor."""
        label = f"{UNNAMED}{len(self.subgraph.operators)}"
        tensor = self.subgraph.add(Tensor(label, tuple(shape), np.dtype(np.float32)))
        self.subgraph.operators.append(Operator(code, tuple(inputs), (tensor,), options, version))
        return tensor

    def reshape(self, tensor: int, shape: Shape) -> int:
        """The same numbers under another stored shape."""
        known = self.subgraph.tensors[tensor]
        if known.shape == shape:
            return tensor
        if known.constant:
            return self.view(tensor, shape)
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        return self.emit(Op.RESHAPE, [tensor, self.literal(np.array(shape, np.int32))], shape, options)

    def transpose(self, tensor: int, permutation: Sequence[int]) -> int:
        """Stored axis i of the result is stored axis permutation[i] of `tensor`."""
        if list(permutation) == list(range(len(permutation))):
            return tensor
        shape = self.subgraph.tensors[tensor].shape
        moved = tuple(shape[axis] for axis in permutation)
        order = self.literal(np.array(permutation, np.int32))
        return self.emit(Op.TRANSPOSE, [tensor, order], moved, schema.TransposeOptionsT())

    def fail(self, node: onnx.NodeProto, why: str) -> CompileError:
        """The error of a node that has no counterpart."""
        return CompileError(
            f"operator {node.op_type} (node {node.name or node.output[0]!r}): {why}; "
            "LiteRT cannot take it from here, --target onnx can"
        )

    def _name(self, tensor: int, name: str) -> None:
        known = self.subgraph.tensors[tensor]
        if known.name.startswith(UNNAMED):
            self.subgraph.tensors[tensor] = replace(known, name=name)

    def _known(self, name: str) -> list[Form]:
        forms = self._forms.get(name)
        if forms is None:
            raise CompileError(f"value {name!r} is read before it is computed")
        return forms

    def _reordered(self, name: str, order: Order) -> int:
        shape = self.shape(name)
        wanted = moving(shape, order)
        for form in self._known(name):
            if moving(shape, form.order) == wanted:
                return self.reshape(form.tensor, stored_shape(shape, order))
        form = self._known(name)[0]
        source = [axis for axis in form.order if axis != UNIT]
        tensor = self.reshape(form.tensor, stored_shape(shape, tuple(source)))
        target = [axis for axis in order if axis != UNIT]
        moved = self.transpose(tensor, [source.index(axis) for axis in target])
        return self.reshape(moved, stored_shape(shape, order))


def pack(value: Array, order: Order) -> Array:
    """The value stored in `order`."""
    packed = value.transpose([axis for axis in order if axis != UNIT])
    return packed.reshape(stored_shape(value.shape, order))


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The node's attributes as Python values; strings are decoded."""
    values = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}
