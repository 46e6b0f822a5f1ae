"""A torch module as a draft: checked, copied, exported, with its parameters recognised in the graph.

Exporters share one constant among parameters of equal values, as fresh norm layers have, and reshape or
rename others. So the copy that is exported holds stand-ins in its norm layers: random numbers that no two
parameters share. Whatever constant of the graph carries a stand-in *is* that parameter; true values are put
back afterwards (`settle_owners`). Layers without scale or bias are given ones that change nothing, and shared
ones are parted. Norm layers of other people's classes are recognised by their values, where those are their
own.
"""

from __future__ import annotations

import copy
import pickle
from collections import Counter

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from edgeadapt.bundle import InputSpec
from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.graph.inputs import Preprocessing
from edgeadapt_models.compile.reference.squash import squash_of
from edgeadapt_models.compile.reference.torch_module import TorchReference
from edgeadapt_models.compile.source.draft import Draft, Owners
from edgeadapt_models.compile.source.export import export_module

_NORMS = (_BatchNorm, _InstanceNorm, nn.LayerNorm, nn.GroupNorm)
_STAND_IN_SEED = 20240613
_UNREADABLE = (RuntimeError, TypeError, ValueError, AttributeError, LookupError)


def draft_module(
    module: nn.Module,
    spec: InputSpec,
    x: FloatArray,
    *,
    classes: int,
    preprocessing: Preprocessing | None = None,
) -> Draft:
    """Make a draft of a module; it is not changed.

    Args:
        module: forward takes what `preprocessing` makes of inputs, float32 [N, *shape], and returns logits
            [N, K] or (logits, embedding [N, D]).
        spec: the input.
        x: float32 [N, *shape] with N >= 2: some source data, not preprocessed.
        classes: K.
        preprocessing: of images.

    Raises:
        CompileError: the module cannot be copied, run, checked or exported; says what was found in it.
    """
    twin = frozen_copy(module)
    wanted = preprocessing or Preprocessing()
    example = torch.from_numpy(preprocess(x, spec, wanted))
    outputs = check_outputs(twin, example, classes)
    _check_norms(twin)
    _own_parameters(twin)
    stand_in = copy.deepcopy(twin)
    owners = _owners(twin, _stand_ins(stand_in))
    try:
        graph = export_module(stand_in, example, outputs)
    except CompileError as error:
        raise CompileError(f"{error}; found: {describe_modules(module)}") from error
    squash = squash_of(graph, graph.graph.output[0].name)
    reference = TorchReference(twin, lambda batch: preprocess(batch, spec, wanted), squash)
    return Draft(graph, spec, reference, "NCHW", wanted, owners)


def settle_owners(model: onnx.ModelProto, owners: Owners) -> None:
    """Put true values in place of stand-ins, in place, whatever shape they have taken in the graph."""
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        value = numpy_helper.to_array(tensor)
        name = owners.owner(value.reshape(-1))
        if name:
            true = owners.values[name].reshape(value.shape)
            tensor.CopyFrom(numpy_helper.from_array(true, tensor.name))


def describe_modules(module: nn.Module) -> str:
    """The leaf module types with their counts, for error messages: "Conv2d x3, Linear x1"."""
    leaves = (child for child in module.modules() if not list(child.children()))
    counts = Counter(type(leaf).__name__ for leaf in leaves)
    return ", ".join(f"{name} x{count}" for name, count in sorted(counts.items())) or "nothing"


def frozen_copy(module: nn.Module) -> nn.Module:
    """A copy in eval mode on the CPU, without gradients.

    Raises:
        CompileError: it cannot be copied, or holds parameters of another precision than float32.
    """
    kinds = {str(p.dtype) for p in module.parameters() if p.dtype != torch.float32}
    if kinds:
        raise CompileError(
            f"the model holds parameters of {', '.join(sorted(kinds))}; float32 is needed: call .float()"
        )
    try:
        return copy.deepcopy(module).cpu().eval().requires_grad_(False)
    except (*_UNREADABLE, pickle.PickleError) as error:
        raise CompileError(
            f"the model cannot be copied: {type(error).__name__}: {error}; give a plain torch module, not "
            "TorchScript (torch.jit), whose lazy layers have run once; "
            f"found: {describe_modules(module)}"
        ) from error


def check_outputs(module: nn.Module, example: Tensor, classes: int) -> int:
    """Run the module once; how many tensors forward returns, 1 or 2.

    Raises:
        CompileError: forward fails, or does not return logits [N, K] or (logits, embedding [N, D]) in
            float32, or what it returns is not finite.
    """
    try:
        with torch.no_grad():
            returned = module(example)
    except _UNREADABLE as error:
        raise CompileError(
            f"the model fails on an input of shape {tuple(example.shape)}: {error}; "
            f"found: {describe_modules(module)}"
        ) from error
    outputs = (returned,) if isinstance(returned, Tensor) else returned
    if not isinstance(outputs, tuple) or len(outputs) > 2 or not all(_is_matrix(o, example) for o in outputs):
        raise CompileError(
            "forward must return logits [N, K], or (logits, embedding [N, D]), in float32, "
            f"got {_describe(returned)} for N = {len(example)}; wrap the model in a module that picks them"
        )
    if outputs[0].shape[1] != classes:
        raise CompileError(
            f"the model has {outputs[0].shape[1]} outputs, but {classes} class names were given"
        )
    if not all(o.isfinite().all() for o in outputs):
        raise CompileError(
            f"the model returns NaN or infinity for calibration data; not finite: {_not_finite(module)}"
        )
    return len(outputs)


def module_classes(module: nn.Module, x: FloatArray) -> int:
    """K of a module, by running it once; raises CompileError."""
    twin = frozen_copy(module)
    try:
        with torch.no_grad():
            returned = twin(torch.from_numpy(x))
    except _UNREADABLE as error:
        raise CompileError(
            f"the model fails on an input of shape {x.shape}: {error}; found: {describe_modules(module)}"
        ) from error
    first = returned[0] if isinstance(returned, tuple) and returned else returned
    if not isinstance(first, Tensor) or first.ndim != 2:
        raise CompileError(
            f"forward must return logits [N, K], or (logits, embedding [N, D]), got {_describe(returned)}; "
            "wrap the model in a module that picks them"
        )
    return int(first.shape[1])


def _not_finite(module: nn.Module) -> str:
    """Names of the parameters and buffers that hold NaN or infinity."""
    return ", ".join(n for n, value in module.state_dict().items() if not value.isfinite().all()) or "none"


def _is_matrix(value: object, example: Tensor) -> bool:
    return (
        isinstance(value, Tensor)
        and value.ndim == 2
        and len(value) == len(example)
        and value.dtype == torch.float32
    )


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__}({', '.join(_describe(item) for item in value)})"
    return type(value).__name__


def _check_norms(module: nn.Module) -> None:
    for path, layer in module.named_modules():
        if isinstance(layer, _BatchNorm) and (layer.running_mean is None or layer.running_var is None):
            raise CompileError(
                f"BatchNorm layer {path!r} keeps no running statistics (track_running_stats); "
                "train it with them"
            )


def _own_parameters(module: nn.Module) -> None:
    """Give every norm layer a scale and a bias of its own; missing ones change nothing."""
    for layer in module.modules():
        if not isinstance(layer, _NORMS):
            continue
        shape = _shape(layer)
        for attribute, absent in (("weight", 1.0), ("bias", 0.0)):
            held: Tensor | None = getattr(layer, attribute)
            value = torch.full(shape, absent) if held is None else held.detach().clone()
            setattr(layer, attribute, nn.Parameter(value, requires_grad=False))


def _shape(layer: nn.Module) -> tuple[int, ...]:
    if isinstance(layer, nn.LayerNorm):
        return tuple(layer.normalized_shape)
    channels = layer.num_channels if isinstance(layer, nn.GroupNorm) else layer.num_features
    return (int(channels),)  # type: ignore[arg-type]


def _stand_ins(module: nn.Module) -> dict[str, FloatArray]:
    """Fill norm layers with numbers of their own, and say which; variances stay positive."""
    generator = torch.Generator().manual_seed(_STAND_IN_SEED)
    filled: dict[str, FloatArray] = {}
    for path, layer in module.named_modules():
        if not isinstance(layer, _NORMS):
            continue
        for attribute in ("weight", "bias", "running_mean", "running_var"):
            held: Tensor | None = getattr(layer, attribute, None)
            if held is not None:
                held.data = 0.5 + torch.rand(held.shape, generator=generator)
                filled[f"{path}.{attribute}".strip(".")] = held.numpy().reshape(-1).copy()
    return filled


def _owners(module: nn.Module, stand_ins: dict[str, FloatArray]) -> Owners:
    """Stand-ins to names, and true values of all parameters that could be a norm layer's."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    values = {
        name: tensor.detach().numpy().reshape(-1).astype(np.float32)
        for name, tensor in tensors.items()
        if tensor.dtype == torch.float32 and sum(size > 1 for size in tensor.shape) <= 1
    }
    values.update({name: tensors[name].detach().numpy().reshape(-1).copy() for name in stand_ins})
    names = {value.tobytes(): name for name, value in stand_ins.items()}
    others = {name: value.tobytes() for name, value in values.items() if name not in stand_ins}
    counts = Counter(others.values())
    names.update((key, name) for name, key in others.items() if counts[key] == 1 and key not in names)
    return Owners(names, values)


def preprocess(x: FloatArray, spec: InputSpec, wanted: Preprocessing) -> FloatArray:
    """What a model takes, of what its bundle takes [N, *shape]."""
    if wanted == Preprocessing():
        return x
    gain, offset = wanted.factors(spec.channels)
    shaped = [np.array(values, np.float32)[:, None, None] for values in (gain, offset)]
    return np.ascontiguousarray(x * shaped[0] + shaped[1], dtype=np.float32)
