"""A float subgraph with its integer operators: QUANTIZE and DEQUANTIZE wherever one kind reads the other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from edgeadapt_models.compile.quantise.qparams import ActivationParams
from edgeadapt_models.compile.tflite.file.program import Operator, Quantisation, Subgraph, Tensor
from edgeadapt_models.compile.tflite.int8.choose import BRIDGES, JOINS, KERNELS, RECTIFIERS, Choice
from edgeadapt_models.compile.tflite.int8.kernels import IntegerKernel, integer_key
from edgeadapt_models.compile.tflite.lower.context import Op

_INT8 = np.dtype(np.int8)
# What LiteRT fixes for the results of these.
FIXED: Mapping[int, ActivationParams] = {
    Op.LOGISTIC: ActivationParams(1 / 256, -128),
    Op.TANH: ActivationParams(1 / 128, 0),
}
# Where activations that stand alone cut.
CUTS: Mapping[int, tuple[float, float]] = {
    Op.RELU: (0.0, math.inf),
    Op.RELU6: (0.0, 6.0),
    Op.RELU_N1_TO_1: (-1.0, 1.0),
}
# Versions of the kernels that take int8 per channel; others take int8 from version 2 on.
_VERSIONS: Mapping[int, int] = {
    Op.CONV_2D: 3,
    Op.DEPTHWISE_CONV_2D: 3,
    Op.FULLY_CONNECTED: 5,
    Op.RESHAPE: 1,
    Op.STRIDED_SLICE: 2,
}
_OTHER_VERSION = 2


def needs_params(subgraph: Subgraph, choice: Choice) -> frozenset[str]:
    """Names of the values whose scale must be known: what integers compute, and take from floats."""
    names = set()
    for index in choice.operators:
        operator = subgraph.operators[index]
        taken = _values(subgraph, operator)
        for tensor in (*taken, *operator.outputs):
            root = choice.root(tensor)
            maker = next((o for o in subgraph.operators if root in o.outputs), None)
            if maker is None or maker.code not in FIXED or root not in choice.tensors:
                names.add(subgraph.tensors[root].name)
    return frozenset(names)


def rewrite(
    subgraph: Subgraph,
    choice: Choice,
    params: Mapping[str, ActivationParams],
    kernels: Mapping[str, IntegerKernel],
) -> Subgraph:
    """The same subgraph with integers.

    Args:
        subgraph: in float.
        choice: what of it computes in integers.
        params: scale and zero point by the name of a value.
        kernels: by the key of their weights.
    """
    writer = _Writer(subgraph, choice, params, kernels)
    for name, tensor in subgraph.inputs.items():
        writer.result.inputs[name] = writer.floats[tensor] = writer.result.add(subgraph.tensors[tensor])
    for index, operator in enumerate(subgraph.operators):
        if index in choice.operators:
            writer.integer(operator)
        if index not in choice.operators or index in choice.twins:
            writer.real(operator)
    for name, tensor in subgraph.outputs.items():
        writer.result.outputs[name] = writer.as_float(tensor)
    return writer.result


def _values(subgraph: Subgraph, operator: Operator) -> tuple[int, ...]:
    """What an operator takes that is computed: all sides of a join, the first input of anything else."""
    return operator.inputs if operator.code in JOINS else operator.inputs[:1]


class _Writer:
    def __init__(
        self,
        subgraph: Subgraph,
        choice: Choice,
        params: Mapping[str, ActivationParams],
        kernels: Mapping[str, IntegerKernel],
    ) -> None:
        self.subgraph, self.choice, self.params, self.kernels = subgraph, choice, params, kernels
        self.result = Subgraph(subgraph.name)
        self.floats: dict[int, int] = {}
        self.integers: dict[int, int] = {}
        self._fixed = {
            tensor: FIXED[operator.code]
            for operator in subgraph.operators
            if operator.code in FIXED
            for tensor in operator.outputs
            if tensor in choice.tensors
        }

    def real(self, operator: Operator) -> None:
        """Write an operator that computes in float."""
        inputs = tuple(tensor if tensor < 0 else self.as_float(tensor) for tensor in operator.inputs)
        outputs = tuple(self.result.add(self.subgraph.tensors[tensor]) for tensor in operator.outputs)
        self.floats.update(zip(operator.outputs, outputs, strict=True))
        self.result.operators.append(replace(operator, inputs=inputs, outputs=outputs))

    def integer(self, operator: Operator) -> None:
        """Write an operator that computes in integers."""
        (result,) = operator.outputs
        if operator.code in BRIDGES or (operator.code in RECTIFIERS and not self._saturates(operator)):
            self.real(operator)
            return
        taken = {tensor: self.as_int8(tensor) for tensor in _values(self.subgraph, operator)}
        if operator.code in RECTIFIERS:
            self.integers[result] = self._rounded(taken[operator.inputs[0]], self._add(result))
            return
        if operator.code == Op.CONCATENATION:
            taken = {old: self._with_scale_of(new, result) for old, new in taken.items()}
        if operator.code in KERNELS:
            inputs = [taken[operator.inputs[0]], *self._constants(operator)]
        else:
            inputs = [taken[t] if t in taken else self.as_float(t) for t in operator.inputs]
        self.integers[result] = self._add(result)
        version = _VERSIONS.get(operator.code, _OTHER_VERSION)
        self.result.operators.append(
            Operator(operator.code, tuple(inputs), (self.integers[result],), operator.options, version)
        )

    def _saturates(self, operator: Operator) -> bool:
        """Whether the result's integers end where the activation cuts, so that rounding to them is enough."""
        low, high = CUTS[operator.code]
        held = self._params(operator.outputs[0])
        return held.low >= low and held.high <= high + held.scale

    def as_float(self, tensor: int) -> int:
        """The tensor in float (constants as they are)."""
        if tensor not in self.floats:
            made = self.result.add(self.subgraph.tensors[tensor])
            if tensor in self.integers:
                self.result.operators.append(
                    Operator(Op.DEQUANTIZE, (self.integers[tensor],), (made,), None, 2)
                )
            self.floats[tensor] = made
        return self.floats[tensor]

    def as_int8(self, tensor: int) -> int:
        """The tensor in integers."""
        if tensor not in self.integers:
            self.integers[tensor] = self._rounded(self.as_float(tensor), self._add(tensor))
        return self.integers[tensor]

    def _rounded(self, source: int, target: int) -> int:
        """Write what brings numbers, or other integers, to the scale of `target`."""
        self.result.operators.append(Operator(Op.QUANTIZE, (source,), (target,), None, _OTHER_VERSION))
        return target

    def _add(self, tensor: int) -> int:
        known = self.subgraph.tensors[tensor]
        return self.result.add(
            Tensor(f"{known.name}/int8", known.shape, _INT8, "", self._quantisation(tensor))
        )

    def _quantisation(self, tensor: int) -> Quantisation:
        name, held = self.subgraph.tensors[self.choice.root(tensor)].name, self._params(tensor)
        scale, zero = np.array([held.scale], np.float32), np.array([held.zero_point], np.int64)
        return Quantisation(f"value/{name}", scale, zero)

    def _params(self, tensor: int) -> ActivationParams:
        root = self.choice.root(tensor)
        return self._fixed.get(root) or self.params[self.subgraph.tensors[root].name]

    def _with_scale_of(self, tensor: int, other: int) -> int:
        """The integers rounded to the scale of another tensor: what is joined must have one scale."""
        wanted, held = self._quantisation(other), self.result.tensors[tensor].quantisation
        assert held is not None
        if (held.scales[0], held.zero_points[0]) == (wanted.scales[0], wanted.zero_points[0]):
            return tensor
        known = self.result.tensors[tensor]
        made = self.result.add(replace(known, name=f"{known.name}/joined", quantisation=wanted))
        return self._rounded(tensor, made)

    def _constants(self, operator: Operator) -> list[int]:
        """Weights and bias of a kernel."""
        kernel = self.kernels[self.subgraph.tensors[operator.inputs[1]].constant]
        weights, bias = (self.subgraph.tensors[tensor] for tensor in operator.inputs[1:3])
        return [
            self._integers_of(weights, np.dtype(np.int8), kernel.weight_scales),
            self._integers_of(bias, np.dtype(np.int32), kernel.bias_scales),
        ]

    def _integers_of(self, tensor: Tensor, dtype: np.dtype[Any], scales: Quantisation) -> int:
        key = integer_key(tensor.constant)
        return self.result.add(Tensor(tensor.name, tensor.shape, dtype, key, scales))
