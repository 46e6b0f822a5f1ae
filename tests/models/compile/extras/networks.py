"""Networks with extras, compiled, and values that move every slot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgeadapt.bundle import Bundle, InputSpec
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.compiler import Compilation, compile_module
from edgeadapt_models.compile.extras.request import ExtrasRequest, parse_adapter, parse_prompt
from edgeadapt_models.compile.extras.values import disturbed
from edgeadapt_models.compile.source.frames import Frames
from edgeadapt_models.compile.targets import TargetRequest
from edgeadapt_models.zoo.structures import StructureSpec, build, examples, structure

FRAMES = 12


class Normalised(nn.Module):
    """A network behind (x - mean) / std per channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, channels: int) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.linspace(0.4, 0.5, channels).view(1, -1, 1, 1))
        self.register_buffer("std", torch.linspace(0.2, 0.3, channels).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        result: tuple[Tensor, Tensor] = self.network((x - self.mean) / self.std)
        return result


def wanted(prompt: str = "", *adapters: str, head: bool = True) -> ExtrasRequest:
    """A request from the words of the command line."""
    return ExtrasRequest(
        parse_prompt(prompt) if prompt else None, tuple(parse_adapter(text) for text in adapters), head
    )


def size(name: str) -> StructureSpec:
    """The small one; images of 64 pixels where 32 would leave norm layers one position to look at."""
    small = structure(name).small
    return replace(small, shape=(3, 64, 64)) if name.startswith("mobilenet") else small


def network(name: str) -> tuple[nn.Module, StructureSpec, str]:
    """The small structure; its spec and its kind."""
    found = structure(name)
    return build(found, size(name)), size(name), found.kind


def exact(name: str) -> nn.Module:
    """The same network in double precision: what every runtime ought to compute."""
    return network(name)[0].double()


def frames(name: str, count: int = FRAMES, seed: int = 1) -> npt.NDArray[np.generic]:
    """Source data as a device gets it."""
    found = structure(name)
    x = examples(found, size(name), count, seed=seed)
    if found.kind == "array":
        return x
    return np.ascontiguousarray((x * 255).round().astype(np.uint8).transpose(0, 2, 3, 1))


def compiled(name: str, request: ExtrasRequest, out: Path, *, module: nn.Module | None = None) -> Bundle:
    """The bundle of a small structure with extras."""
    return compilation(name, request, out, module=module).bundle


def compilation(
    name: str,
    request: ExtrasRequest,
    out: Path,
    *,
    module: nn.Module | None = None,
    targets: TargetRequest | None = None,
) -> Compilation:
    """Compile a small structure with extras."""
    own, spec, kind = network(name)
    return compile_module(
        own if module is None else module,
        name=name,
        classes=[f"class-{index}" for index in range(spec.classes)],
        spec=InputSpec(spec.shape, kind),  # type: ignore[arg-type]
        data=Frames(frames(name)),
        out=out,
        extras=request,
        targets=targets if targets is not None else TargetRequest(),
    )


def moved(bundle: Bundle, seed: int = 0, share: float = 0.02) -> dict[str, FloatArray]:
    """Random values of every slot that is none of a norm layer, within its bounds; gates are open."""
    return disturbed(bundle.manifest.slots, bundle.base_slots(), seed, share)
