"""The int8 LiteRT artifact of a bundle, from its float one: same signatures, same slots, same patch.

The float program is rewritten, not the ONNX graph: what is folded, laid out and shared is decided already.
What the probe returns is measured in float on the integers' values. Norm layers that are folded into an
integer kernel change its scales and its int32 bias only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain

import msgspec

from edgeadapt.bundle import NormLayer, Region, SlotValues, Write
from edgeadapt.bundle.writes import FoldNorm, FoldNormInt8, regions
from edgeadapt.errors import CompileError
from edgeadapt_models.compile.quantise.qparams import ActivationParams
from edgeadapt_models.compile.tflite.artifact import TfliteModel
from edgeadapt_models.compile.tflite.file.flatbuffer import TfliteFile, serialise
from edgeadapt_models.compile.tflite.file.program import Program, Subgraph
from edgeadapt_models.compile.tflite.int8.choose import KERNELS, Choice, choose
from edgeadapt_models.compile.tflite.int8.kernels import (
    FloatKernel,
    IntegerKernel,
    Surroundings,
    added_constants,
    integer_kernel,
    integer_key,
)
from edgeadapt_models.compile.tflite.int8.rewrite import needs_params, rewrite
from edgeadapt_models.compile.tflite.lower.context import Op

TFLITE_INT8_NAME = "model.int8.tflite"

Calibrate = Callable[[Sequence[str]], Mapping[str, ActivationParams]]
"""Scale and zero point of values of the ONNX graph, by name."""


def int8_model(
    source: TfliteModel, layers: Sequence[NormLayer], base: SlotValues, calibrate: Calibrate
) -> TfliteModel:
    """Make the int8 artifact.

    Args:
        source: the float artifact.
        layers: the manifest's norm layers.
        base: base values of the slots.
        calibrate: chooses scales; called once, with the names of ONNX values.

    Raises:
        CompileError: nothing can be int8, or from `calibrate`.
    """
    keys = {span.offset: key for key, span in source.file.constants.items()}
    fixed = _fixed_kernels(source, keys, {layer.name: layer for layer in layers})
    outputs = tuple(source.program.subgraphs[0].outputs)
    choices = [choose(subgraph, outputs, fixed) for subgraph in source.program.subgraphs]
    pairs = list(zip(source.program.subgraphs, choices, strict=True))
    if not choices[0].operators:
        raise CompileError(
            "nothing in this model can be int8 in LiteRT: "
            "it has no convolution or matrix product whose weights only a norm layer changes"
        )
    names = frozenset(chain.from_iterable(needs_params(*pair) for pair in pairs))
    params = calibrate(sorted(names))
    kernels: dict[str, IntegerKernel] = {}
    for subgraph, choice in reversed(pairs):  # what is fused in the fast one counts
        kernels |= _kernels(source.program, subgraph, choice, params, fixed, base)
    subgraphs = tuple(rewrite(subgraph, choice, params, kernels) for subgraph, choice in pairs)
    constants = {**source.program.constants, **added_constants(kernels)}
    program = Program(subgraphs, constants)
    file = serialise(program)
    writes = tuple(_rewritten(source.artifact.writes, keys, file, kernels))
    artifact = msgspec.structs.replace(
        source.artifact, file=TFLITE_INT8_NAME, writes=writes, precision="int8"
    )
    return TfliteModel(file, artifact, program)


def _fixed_kernels(
    source: TfliteModel, keys: Mapping[int, str], layers: Mapping[str, NormLayer]
) -> dict[str, FloatKernel]:
    """Kernels that nothing changes, or one norm layer, by the key of their weights."""
    touching: dict[str, list[Write]] = {}
    for write in source.artifact.writes:
        for region in regions(write):
            touching.setdefault(keys[region.offset], []).append(write)
    found: dict[str, FloatKernel] = {}
    for subgraph in source.program.subgraphs:
        for operator in subgraph.operators:
            if operator.code not in KERNELS:
                continue
            weights, bias = (subgraph.tensors[tensor].constant for tensor in operator.inputs[1:3])
            writes = {id(w): w for key in (weights, bias) for w in touching.get(key, [])}
            folds = [write for write in writes.values() if isinstance(write, FoldNorm)]
            if weights and len(folds) == len(writes) <= 1:
                axis = 3 if operator.code == Op.DEPTHWISE_CONV_2D else 0
                layer = layers[folds[0].layer] if folds else None
                found[weights] = FloatKernel(weights, bias, axis, layer)
    return found


def _kernels(
    program: Program,
    subgraph: Subgraph,
    choice: Choice,
    params: Mapping[str, ActivationParams],
    fixed: Mapping[str, FloatKernel],
    base: SlotValues,
) -> dict[str, IntegerKernel]:
    """The integer kernels of a subgraph, by the key of their weights."""
    found: dict[str, IntegerKernel] = {}
    for index in sorted(choice.operators):
        operator = subgraph.operators[index]
        if operator.code in KERNELS:
            kernel = fixed[subgraph.tensors[operator.inputs[1]].constant]
            taken = subgraph.tensors[choice.root(operator.inputs[0])].name
            values = program.constants[kernel.weights], program.constants[kernel.bias]
            result = subgraph.tensors[operator.outputs[0]].name
            activation = operator.options.fusedActivationFunction
            around = Surroundings(params[taken].scale, params[result], activation)
            found[kernel.weights] = integer_kernel(kernel, *values, around, base)
    return found


def _rewritten(
    writes: Sequence[Write],
    keys: Mapping[int, str],
    file: TfliteFile,
    kernels: Mapping[str, IntegerKernel],
) -> Iterator[Write]:
    """The writes of the new file: a norm layer on the integers of its kernel, all others where they were.

    A kernel that has a float twin is written twice.
    """
    for write in writes:
        kernel = kernels.get(keys[write.weight.offset]) if isinstance(write, FoldNorm) else None
        if kernel is not None and isinstance(write, FoldNorm):
            yield _on_integers(write.layer, kernel, file)
        if kernel is None or kernel.source.weights in file.constants:
            moved = {
                field: msgspec.structs.replace(value, offset=file.constants[keys[value.offset]].offset)
                for field in write.__struct_fields__
                if isinstance(value := getattr(write, field), Region)
            }
            yield msgspec.structs.replace(write, **moved)


def _on_integers(layer: str, kernel: IntegerKernel, file: TfliteFile) -> FoldNormInt8:
    shape = (len(kernel.bias),)
    return FoldNormInt8(
        layer,
        Region(file.scales[kernel.weight_scales.key].offset, shape),
        Region(file.constants[integer_key(kernel.source.bias)].offset, shape, "int32"),
        kernel.input_scale,
        kernel.negative,
        Region(file.scales[kernel.bias_scales.key].offset, shape),
        kernel.low,
        kernel.high,
    )
