"""A LiteRT model before it is bytes: constants, and subgraphs of tensors and operators that share them.

Names follow the LiteRT schema. A tensor is the position of its entry in `Subgraph.tensors`; a constant is a
key, so that two subgraphs that hold the same key hold the same bytes in the file. Serialising is in
`flatbuffer`; what the operators compute is LiteRT's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Quantisation:
    """How integers stand for numbers: real = scale * (integer - zero_point).

    Attributes:
        key: tensors whose key is equal share one entry of the file.
        scales: float32 [1], or one for each index of `axis`.
        zero_points: int64, as many.
        axis: which axis the scales run along.
    """

    key: str
    scales: FloatArray
    zero_points: npt.NDArray[np.int64]
    axis: int = 0


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a subgraph; `constant` is the key of its value, or "" when an operator computes it."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    constant: str = ""
    quantisation: Quantisation | None = None


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator.

    Attributes:
        code: a `BuiltinOperator` of the schema.
        inputs: positions of tensors; -1 for an optional one that is absent.
        outputs: positions of tensors.
        options: an object of the schema, such as `Conv2DOptionsT`; None for operators that take none.
        version: of the operator's kernel.
    """

    code: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any = None
    version: int = 1


@dataclass(slots=True)
class Subgraph:
    """A function; `inputs` and `outputs` map the names of its signature to tensors."""

    name: str
    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    inputs: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)

    def add(self, tensor: Tensor) -> int:
        """Append a tensor and return its position."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1


@dataclass(slots=True)
class Constants:
    """Values by key; one key has one value."""

    values: dict[str, Array] = field(default_factory=dict)

    def add(self, key: str, value: Array) -> str:
        """Store `value`; raises CompileError when the key already holds another one."""
        known = self.values.setdefault(key, np.asarray(value, order="C"))
        if known.dtype != value.dtype or not np.array_equal(known, value, equal_nan=known.dtype.kind == "f"):
            raise CompileError(f"two values were given for the constant {key!r} of the LiteRT model")
        return key


@dataclass(frozen=True, slots=True)
class Program:
    """All of a model. Every subgraph is a signature under its own name."""

    subgraphs: tuple[Subgraph, ...]
    constants: Mapping[str, Array]


def live(subgraph: Subgraph) -> Subgraph:
    """A copy without the operators and tensors that no output needs.

    The inputs stay, so that every signature takes the same ones.
    """
    needed = set(subgraph.outputs.values())
    kept: list[Operator] = []
    for operator in reversed(subgraph.operators):
        if needed.intersection(operator.outputs):
            kept.append(operator)
            needed.update(index for index in operator.inputs if index >= 0)
    needed.update(subgraph.inputs.values())
    order = sorted(needed | {index for operator in kept for index in operator.outputs})
    position = {old: new for new, old in enumerate(order)} | {-1: -1}
    return Subgraph(
        subgraph.name,
        [subgraph.tensors[index] for index in order],
        [_moved(operator, position) for operator in reversed(kept)],
        {name: position[index] for name, index in subgraph.inputs.items()},
        {name: position[index] for name, index in subgraph.outputs.items()},
    )


def _moved(operator: Operator, position: Mapping[int, int]) -> Operator:
    return Operator(
        operator.code,
        tuple(position[index] for index in operator.inputs),
        tuple(position[index] for index in operator.outputs),
        operator.options,
        operator.version,
    )
