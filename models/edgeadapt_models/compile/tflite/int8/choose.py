"""Which operators compute in integers.

Convolutions and matrix products whose weights nothing but a norm layer changes do, save those that make an
output; so do sums, products, joins, pools and moves of what is in integers already, and the activations that
LiteRT has in 8 bits. Everything else (input normalisation, norm layers that are not folded, softmax, GELU,
the probe's moments, means that are more than a step between two kernels) computes in float, between a
DEQUANTIZE and a QUANTIZE. So do the steps of what LiteRT has no single operator for: what they give is no
value of the ONNX graph, so its range is not known.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from math import prod

from edgeadapt_models.compile.tflite.file.program import Operator, Subgraph
from edgeadapt_models.compile.tflite.lower.context import UNNAMED, Op

KERNELS = frozenset({Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.FULLY_CONNECTED})
JOINS = frozenset({Op.ADD, Op.CONCATENATION, Op.MUL})
# Their result has the scale of what they take: they only move or choose.
MOVES = frozenset({Op.MAX_POOL_2D, Op.PAD, Op.RESHAPE, Op.SLICE, Op.STRIDED_SLICE, Op.TRANSPOSE})
RECTIFIERS = frozenset({Op.RELU, Op.RELU6, Op.RELU_N1_TO_1})
# Slow in integers, since XNNPACK has them in float only; what goes in and comes out is in integers.
BRIDGES = frozenset({Op.AVERAGE_POOL_2D, Op.HARD_SWISH})
_SINGLE = RECTIFIERS | BRIDGES | {Op.LOGISTIC, Op.MEAN, Op.TANH}
# A float tensor this much smaller than the result is rounded to join the integers (a gate per channel).
_SMALL = 4


@dataclass(slots=True)
class Choice:
    """What of a subgraph is in integers.

    Attributes:
        operators: positions of the operators whose input and result are in integers.
        tensors: tensors that these compute.
        likes: tensors that have the scale of another one, which is named.
        twins: positions of integer kernels that floats measure and that read nothing but the input: they are
            computed once more in float, since all that a domain's signature is made of comes from there.
    """

    operators: set[int] = field(default_factory=set)
    tensors: set[int] = field(default_factory=set)
    likes: dict[int, int] = field(default_factory=dict)
    twins: set[int] = field(default_factory=set)

    def root(self, tensor: int) -> int:
        """The tensor whose scale `tensor` has."""
        while tensor in self.likes:
            tensor = self.likes[tensor]
        return tensor

    def add(self, index: int, operator: Operator) -> None:
        """Let an operator compute in integers."""
        (result,) = operator.outputs
        self.operators.add(index)
        self.tensors.add(result)
        if operator.code in MOVES:
            self.likes[result] = operator.inputs[0]


def choose(subgraph: Subgraph, outputs: Collection[str], fixed: Collection[str]) -> Choice:
    """Choose for a subgraph in float.

    Args:
        subgraph: in float.
        outputs: names of the outputs that matter; what leads to others only stays float.
        fixed: keys of the weights that may become integers.
    """
    chooser = _Chooser(subgraph, outputs, fixed)
    chooser.forward()
    chooser.backward()
    chooser.find_twins()
    return chooser.choice


class _Chooser:
    def __init__(self, subgraph: Subgraph, outputs: Collection[str], fixed: Collection[str]) -> None:
        self.subgraph, self.fixed = subgraph, fixed
        self.choice = Choice()
        self.results = {subgraph.outputs[name] for name in outputs}
        self.relevant = _leading_to(subgraph, self.results)
        self.readers: dict[int, list[int]] = {}
        for index in sorted(self.relevant):
            for tensor in set(subgraph.operators[index].inputs):
                self.readers.setdefault(tensor, []).append(index)

    def forward(self) -> None:
        """Kernels, and what follows them."""
        for index, operator in enumerate(self.subgraph.operators):
            if index in self.relevant and self._integer(operator):
                self.choice.add(index, operator)

    def backward(self) -> None:
        """Moves in front of kernels: what is rounded is rounded before it is moved."""
        for index, operator in reversed(list(enumerate(self.subgraph.operators))):
            (result,) = operator.outputs
            readers = self.readers.get(result, [])
            into = bool(readers) and all(reader in self.choice.operators for reader in readers)
            if operator.code in MOVES and into and result not in self.results:
                self.choice.add(index, operator)

    def find_twins(self) -> None:
        """Kernels behind nothing in integers whose result is also measured."""
        measured = {
            tensor
            for index, operator in enumerate(self.subgraph.operators)
            if index not in self.relevant
            for tensor in operator.inputs
        }
        for index in self.choice.operators:
            operator = self.subgraph.operators[index]
            first = (
                operator.code in KERNELS and self.choice.root(operator.inputs[0]) not in self.choice.tensors
            )
            if first and operator.outputs[0] in measured:
                self.choice.twins.add(index)

    def _integer(self, operator: Operator) -> bool:
        (result,) = operator.outputs
        if operator.code in KERNELS:
            return self._kernel(operator)
        if operator.code not in MOVES and self.subgraph.tensors[result].name.startswith(UNNAMED):
            return False
        if operator.code in JOINS:
            return self._joins(operator)
        if operator.code not in MOVES | _SINGLE or operator.inputs[0] not in self.choice.tensors:
            return False
        return operator.code != Op.MEAN or self._between_kernels(result)

    def _kernel(self, operator: Operator) -> bool:
        weights = operator.inputs[1]
        return (
            operator.code in KERNELS
            and self.subgraph.tensors[weights].constant in self.fixed
            and operator.outputs[0] not in self.results
        )

    def _joins(self, operator: Operator) -> bool:
        """At least one side is in integers, and the others are, or are small."""
        if not any(tensor in self.choice.tensors for tensor in operator.inputs):
            return False
        size = prod(self.subgraph.tensors[operator.outputs[0]].shape)
        return all(
            tensor in self.choice.tensors
            or (not self.subgraph.tensors[tensor].constant and self._size(tensor) * _SMALL <= size)
            for tensor in operator.inputs
        )

    def _size(self, tensor: int) -> int:
        return prod(self.subgraph.tensors[tensor].shape)

    def _between_kernels(self, tensor: int) -> bool:
        """Whether only kernels want a mean: it is narrow, and 8 bits are few for anything else."""
        if tensor in self.results:
            return False
        for index in self.readers.get(tensor, []):
            operator = self.subgraph.operators[index]
            if operator.code == Op.RESHAPE:
                if not self._between_kernels(operator.outputs[0]):
                    return False
            elif not self._kernel(operator):
                return False
        return True


def _leading_to(subgraph: Subgraph, results: Collection[int]) -> frozenset[int]:
    """Positions of the operators that some tensors need."""
    needed, found = set(results), set[int]()
    for index, operator in reversed(list(enumerate(subgraph.operators))):
        if needed.intersection(operator.outputs):
            found.add(index)
            needed.update(operator.inputs)
    return frozenset(found)
