"""What slots stand for, in torch: real branches beside real layers, hooked into the module.

Nothing here knows of folding, graphs or files. A value's place is its slot's `layer`: the path of a module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeadapt.bundle import Slot

Values = Mapping[str, npt.NDArray[np.float32]]


@contextmanager
def branched(
    module: nn.Module, slots: Sequence[Slot], values: Values, *, border: int = 0, blocks: Sequence[str] = ()
) -> Iterator[nn.Module]:
    """Inside, the module computes what it would with the slots' branches.

    Args:
        module: put back as it was at the end.
        slots: all of the bundle's.
        values: of every slot that is none of a norm layer.
        border: of the prompt, where it is a frame.
        blocks: path of the module that ends each residual block, for bottlenecks.
    """
    kind = next(module.parameters()).dtype
    tensors = {name: torch.from_numpy(np.array(value)).to(kind) for name, value in values.items()}
    with ExitStack() as stack:
        for slot in slots:
            value = tensors.get(slot.name)
            if slot.kind == "conv_adapter":
                assert value is not None
                stack.enter_context(_after(module.get_submodule(slot.layer), _conv_branch(value)))
            elif slot.kind == "low_rank_up":
                assert value is not None
                down = tensors[slot.name.removesuffix(".up") + ".down"]
                stack.enter_context(_after(module.get_submodule(slot.layer), _product_branch(down, value)))
            elif slot.kind == "input_prompt":
                assert value is not None
                stack.enter_context(_before(module, _prompt(value, border)))
            elif slot.kind == "embedding_shift":
                assert value is not None
                stack.enter_context(_before(module.get_submodule("head"), lambda x, v=value: x + v))
            elif slot.kind in ("head_weight", "head_bias"):
                assert value is not None
                stack.enter_context(_held(module, slot.name, value))
            elif slot.name.endswith(".down.weight"):
                block = slot.name.removesuffix(".down.weight")
                parts = {p: tensors[f"{block}.{p}"] for p in ("down.weight", "down.bias", "up.weight")}
                end = module.get_submodule(blocks[int(block.removeprefix("block"))])
                stack.enter_context(_after(end, _bottleneck(parts)))
        yield module


@contextmanager
def _after(layer: nn.Module, branch: Any) -> Iterator[None]:
    """`branch(layer, input)` is added to the output."""
    handle = layer.register_forward_hook(lambda held, args, out: out + branch(held, args[0], out))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _before(layer: nn.Module, change: Any) -> Iterator[None]:
    handle = layer.register_forward_pre_hook(lambda _, args: (change(args[0]), *args[1:]))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _held(module: nn.Module, name: str, value: Tensor) -> Iterator[None]:
    parameter = module.get_parameter(name)
    before = parameter.detach().clone()
    try:
        parameter.data.copy_(value)
        yield
    finally:
        parameter.data.copy_(before)


def _conv_branch(adapter: Tensor) -> Any:
    def branch(conv: nn.Conv1d | nn.Conv2d, x: Tensor, _: Tensor) -> Tensor:
        one = isinstance(conv, nn.Conv1d)
        convolve: Any = functional.conv1d if one else functional.conv2d
        kernel = adapter[..., None] if one else adapter[..., None, None]
        result: Tensor = convolve(x, kernel, stride=conv.stride, groups=conv.groups)
        return result

    return branch


def _product_branch(down: Tensor, up: Tensor) -> Any:
    return lambda _, x, __: functional.linear(functional.linear(x, down), up)


def _bottleneck(parts: Mapping[str, Tensor]) -> Any:
    def branch(_: nn.Module, __: Tensor, out: Tensor) -> Tensor:
        rows = out.movedim(1, -1) if out.ndim == 4 else out
        inner = functional.linear(rows, parts["down.weight"], parts["down.bias"]).relu()
        added = functional.linear(inner, parts["up.weight"])
        return added.movedim(-1, 1) if out.ndim == 4 else added

    return branch


def _prompt(value: Tensor, border: int) -> Any:
    def change(x: Tensor) -> Tensor:
        images = x if x.ndim == 4 else x[:, :, None, :]
        if border:
            spread = torch.zeros_like(images[0])
            height, width = images.shape[2:]
            pixels = iter(value.T)
            for row in range(height):
                for column in range(width):
                    edge = min(row, column, height - 1 - row, width - 1 - column)
                    if edge < border:
                        spread[:, row, column] = next(pixels)
        else:
            spread = functional.interpolate(
                value[None], size=images.shape[2:], mode="bilinear", align_corners=False
            )[0]
        return (images + spread).reshape(x.shape)

    return change
