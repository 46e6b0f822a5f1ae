"""The torch module itself, with slots written into its parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from edgeadapt.bundle import SlotValues
from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.graph.outputs import EMBEDDING, LOGITS
from edgeadapt_models.compile.reference.base import Compare, comparing


class TorchReference:
    """A module in eval mode that returns logits or what it makes of them, or (logits, embedding)."""

    title = "torch"

    def __init__(
        self, module: nn.Module, prepare: Callable[[FloatArray], FloatArray], squash: str = ""
    ) -> None:
        """Keep a module.

        Args:
            module: copied when slots are written; its norm layers have parameters of their own.
            prepare: makes what the module takes of what the bundle takes.
            squash: what the module makes of its logits at the end, as in `reference.squash`.
        """
        self._module = module
        self._prepare = prepare
        self._squash = squash
        self._known = {**dict(module.named_parameters()), **dict(module.named_buffers())}

    def expect(self, x: FloatArray, values: SlotValues) -> Compare | None:
        """As in `Reference`; nothing for slots that are no parameters of the module."""
        if not self._known.keys() >= values.keys():
            return None
        try:
            with torch.no_grad():
                outputs = self._with(values)(torch.from_numpy(self._prepare(x)))
        except (RuntimeError, TypeError, ValueError, AttributeError, LookupError) as error:
            raise CompileError(f"torch fails on an input of shape {x.shape}: {error}") from error
        expected = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
        named = zip((LOGITS, EMBEDDING), expected, strict=False)
        return comparing({name: tensor.numpy() for name, tensor in named}, self._squash)

    def _with(self, values: SlotValues) -> nn.Module:
        if not values:
            return self._module
        changed = copy.deepcopy(self._module)
        tensors = {**dict(changed.named_parameters()), **dict(changed.named_buffers())}
        with torch.no_grad():
            for name, value in values.items():
                tensors[name].copy_(torch.from_numpy(value.reshape(tensors[name].shape).copy()))
        return changed
