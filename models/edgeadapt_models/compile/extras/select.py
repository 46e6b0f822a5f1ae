"""Which layers get an adapter, and what they are called.

`all`, a pattern over names (shell style, such as `layer4.*`), or `last-stage`: the layers at the resolution
of the last feature map, before pooling; where all layers see as many positions (transformers), the last
quarter of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import ceil, prod

import onnx

from edgeadapt.errors import CompileError
from edgeadapt_models.compile.analyse.view import GraphView
from edgeadapt_models.compile.extras.request import ALL, LAST_STAGE

_LAST_SHARE = 0.25
_NAMED = 8


@dataclass(frozen=True, slots=True)
class Candidate:
    """A place for an adapter.

    Attributes:
        name: for people.
        output: first output of the node.
        shape: of that output.
        channels_last: whether the channels are its last axis, else they are axis 1.
    """

    name: str
    output: str
    shape: tuple[int, ...]
    channels_last: bool = False

    @property
    def positions(self) -> int:
        """Pixels or tokens."""
        return prod(self.shape[1:-1] if self.channels_last else self.shape[2:])


def choose(candidates: Sequence[Candidate], where: str, what: str) -> tuple[Candidate, ...]:
    """Those that `where` asks for, in order of execution.

    Raises:
        CompileError: there is none; lists the names.
    """
    if where == ALL:
        found = list(candidates)
    elif where == LAST_STAGE:
        found = _last_stage(candidates)
    else:
        found = [candidate for candidate in candidates if fnmatchcase(candidate.name, where)]
    if not found:
        names = [candidate.name for candidate in candidates]
        shown = ", ".join(names[:_NAMED]) + (
            f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        )
        raise CompileError(
            f"no {what} for {where!r}; behind the first norm layer and before the head there are: "
            f"{shown or 'none'}"
        )
    return tuple(found)


def _last_stage(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The fewest positions above one; where all have as many, the last quarter."""
    maps = {candidate.positions for candidate in candidates if candidate.positions > 1}
    if len(maps) > 1:
        return [candidate for candidate in candidates if candidate.positions == min(maps)]
    return list(candidates[-ceil(len(candidates) * _LAST_SHARE) :]) if candidates else []


def layer_name(view: GraphView, node: onnx.NodeProto) -> str:
    """What a person calls the layer of a node: by its weights, its place in the module tree, or its name.

    Torch names weights "layer1.0.conv1.weight" and nodes "/layer1/layer1.0/conv1/Conv".
    """
    weight: str = node.input[1] if len(node.input) > 1 else ""
    if weight.endswith(".weight") and view.is_constant(weight) and ":" not in weight:
        return weight.removesuffix(".weight")
    if not node.name.startswith("/") or node.name.count("/") < 2:
        return str(node.name or node.output[0])
    parts: list[str] = node.name.strip("/").split("/")[:-1]
    deeper = [*parts[1:], ""]
    kept = [part for part, after in zip(parts, deeper, strict=True) if not after.startswith(f"{part}.")]
    return ".".join(kept)
