"""Find the norm layers of a torch module, in the order in which they run, and read or write their values.

Invariants: every layer found runs exactly once per forward pass; its four (BatchNorm) or two (LayerNorm)
slots have values even where the module has none (a missing scale is 1, a missing bias 0), so that all of them
can be patched. GroupNorm, InstanceNorm and functional norms are not slots. The exported graph is in `export`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from edgeadapt.bundle import SlotValues
from edgeadapt.bundle.manifest import NormKind, SlotKind
from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray

NormModule: TypeAlias = _BatchNorm | nn.LayerNorm

_ATTRIBUTES: dict[NormKind, tuple[tuple[SlotKind, str], ...]] = {
    "batch": (
        ("norm_scale", "weight"),
        ("norm_bias", "bias"),
        ("norm_mean", "running_mean"),
        ("norm_var", "running_var"),
    ),
    "layer": (("norm_scale", "weight"), ("norm_bias", "bias")),
}
_ABSENT: dict[str, float] = {"weight": 1.0, "bias": 0.0}


@dataclass(frozen=True, slots=True)
class NormSite:
    """One norm layer at its place in the forward pass.

    Attributes:
        path: module path in torch, such as "blocks.0.norm1".
        kind: BatchNorm or LayerNorm.
        channels: length of each of its slots.
        epsilon: added to the variance.
        reduce_axes: axes of its input that are neither the batch nor the channel axis; may be empty.
    """

    path: str
    kind: NormKind
    channels: int
    epsilon: float
    reduce_axes: tuple[int, ...]

    @property
    def slots(self) -> tuple[tuple[SlotKind, str], ...]:
        """(kind, slot name) in the order in which the ONNX operator takes them."""
        return tuple((kind, f"{self.path}.{attribute}") for kind, attribute in _ATTRIBUTES[self.kind])


def describe_modules(module: nn.Module) -> str:
    """The leaf module types with their counts, for error messages: "Conv2d x3, Linear x1"."""
    leaves = (child for child in module.modules() if not list(child.children()))
    counts = Counter(type(leaf).__name__ for leaf in leaves)
    return ", ".join(f"{name} x{count}" for name, count in sorted(counts.items())) or "nothing"


def other_norms(module: nn.Module) -> str:
    """Norm layers that have no slots and no exact graph: "'norm' (GroupNorm)"; "" when there are none."""
    kinds = (nn.GroupNorm, nn.SyncBatchNorm, _InstanceNorm)
    found = ((path, child) for path, child in module.named_modules() if isinstance(child, kinds))
    return ", ".join(f"{path!r} ({type(child).__name__})" for path, child in found)


def record_norm_inputs(module: nn.Module, x: Tensor) -> tuple[Any, list[tuple[str, Tensor]]]:
    """Run `module` on x once.

    Returns:
        What forward returned, and (module path, input of that norm layer) in order of execution.
    """
    seen: list[tuple[str, Tensor]] = []

    def watch(path: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen.append((path, (args[0] if args else kwargs["input"]).detach().clone()))

        return hook

    handles = [
        child.register_forward_pre_hook(watch(path), with_kwargs=True)
        for path, child in module.named_modules()
        if isinstance(child, NormModule)
    ]
    try:
        with torch.no_grad():
            return module(x), seen
    finally:
        for handle in handles:
            handle.remove()


def find_norm_sites(module: nn.Module, inputs: list[tuple[str, Tensor]]) -> tuple[NormSite, ...]:
    """The norm layers behind the inputs that `record_norm_inputs` saw.

    Raises:
        CompileError: there is none, one runs more than once, or one is of a form that has no slots.
    """
    if not inputs:
        raise CompileError(
            "no BatchNorm or LayerNorm layer runs in this model, so nothing in it can be adapted; "
            f"found: {describe_modules(module)}"
        )
    repeated = [path for path, count in Counter(path for path, _ in inputs).items() if count > 1]
    if repeated:
        raise CompileError(
            f"norm layer {repeated[0]!r} runs more than once per forward pass; "
            "each place needs a layer and statistics of its own"
        )
    return tuple(_site(path, module.get_submodule(path), x) for path, x in inputs)


def _site(path: str, layer: nn.Module, x: Tensor) -> NormSite:
    if isinstance(layer, _BatchNorm):
        if layer.running_mean is None or layer.running_var is None:
            raise CompileError(f"BatchNorm layer {path!r} keeps no running statistics (track_running_stats)")
        return NormSite(path, "batch", x.shape[1], layer.eps, tuple(range(2, x.ndim)))
    assert isinstance(layer, nn.LayerNorm)
    if len(layer.normalized_shape) != 1 or x.ndim < 2:
        raise CompileError(
            f"LayerNorm layer {path!r} normalises over {tuple(layer.normalized_shape)}; "
            "only the last axis is supported"
        )
    return NormSite(path, "layer", x.shape[-1], layer.eps, tuple(range(1, x.ndim - 1)))


def read_values(module: nn.Module, sites: tuple[NormSite, ...]) -> dict[str, FloatArray]:
    """The value of every slot, float32 [channels], copied."""
    values: dict[str, FloatArray] = {}
    for site in sites:
        layer = module.get_submodule(site.path)
        for _, name in site.slots:
            attribute = name.rpartition(".")[2]
            tensor = getattr(layer, attribute)
            if tensor is None:
                values[name] = np.full(site.channels, _ABSENT[attribute], dtype=np.float32)
            else:
                values[name] = tensor.detach().numpy().astype(np.float32, copy=True)
    return values


def write_values(module: nn.Module, values: SlotValues) -> None:
    """Set slots in place, in torch; parameters that were shared or absent become the layer's own."""
    for name, value in values.items():
        path, _, attribute = name.rpartition(".")
        layer = module.get_submodule(path)
        tensor = torch.from_numpy(value.copy())
        if attribute in _ABSENT:
            setattr(layer, attribute, nn.Parameter(tensor, requires_grad=False))
        else:
            setattr(layer, attribute, tensor)
