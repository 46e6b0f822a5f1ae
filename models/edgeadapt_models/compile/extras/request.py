"""What a person asks for: `--prompt border:30 --adapters conv:last-stage --adapters lowrank:blocks.*:8`.

    prompt    full | border:PIXELS | low:SIZE | low:ROWSxCOLUMNS
    adapters  conv[:WHERE]              a parallel 1x1 convolution, folded
              lowrank[:WHERE[:RANK]]    a low-rank product beside a matrix, folded
              bottleneck[:WHERE[:SIZE]] down, ReLU, up behind a block, with a residual; costs time
              tokens[:COUNT]            learnt tokens beside those of the image; costs time

WHERE is `last-stage` (the default), `all`, or a pattern over names such as `layer4.*` (`select`).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

from edgeadapt.errors import CompileError

LAST_STAGE = "last-stage"
ALL = "all"

AdapterKind = Literal["conv", "lowrank", "bottleneck", "tokens"]
PromptForm = Literal["full", "border", "low"]

VARIANTS: tuple[AdapterKind, ...] = ("bottleneck", "tokens")
"""Adapters that do not fold."""
_SIZES: dict[str, int] = {"conv": 1, "lowrank": 4, "bottleneck": 8, "tokens": 8}
_PROMPTS = "full, border:PIXELS, low:SIZE or low:ROWSxCOLUMNS"
_ADAPTERS = "conv[:WHERE], lowrank[:WHERE[:RANK]], bottleneck[:WHERE[:SIZE]], tokens[:COUNT]"
_MAX_SIZE = 4096


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """An additive prompt on the input.

    Attributes:
        form: every pixel, a frame, or a coarse grid that is spread over the input.
        border: width of the frame in pixels; 0 for other forms.
        grid: rows and columns of the coarse grid; (0, 0) for other forms.
    """

    form: PromptForm
    border: int = 0
    grid: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class AdapterRequest:
    """Adapters of one kind; `size` is the rank, the width of the bottleneck or the number of tokens."""

    kind: AdapterKind
    where: str = LAST_STAGE
    size: int = 1


@dataclass(frozen=True, slots=True)
class ExtrasRequest:
    """All that is asked for; the head's slots are made unless that is turned off.

    Raises:
        CompileError: adapters are asked for twice.
    """

    prompt: PromptRequest | None = None
    adapters: tuple[AdapterRequest, ...] = ()
    head: bool = True

    def __post_init__(self) -> None:
        twice = [entry for entry in self.adapters if self.adapters.count(entry) > 1]
        if twice:
            raise CompileError(f"--adapters {twice[0].kind}:{twice[0].where} is given twice; once is enough")


def parse_prompt(text: str) -> PromptRequest:
    """Read the value of `--prompt`; raises CompileError that lists the forms."""
    form, _, rest = text.partition(":")
    if form == "full" and not rest:
        return PromptRequest("full")
    if form == "border" and (border := _number(rest)):
        return PromptRequest("border", border=border)
    if form == "low" and (found := re.fullmatch(r"(\d+)(?:x(\d+))?", rest)):
        rows = _number(found[1])
        columns = _number(found[2]) if found[2] else rows
        if rows and columns:
            return PromptRequest("low", grid=(rows, columns))
    raise CompileError(
        f"--prompt {text!r} is not known; the forms are {_PROMPTS}, sizes from 1 to {_MAX_SIZE}"
    )


def parse_adapter(text: str) -> AdapterRequest:
    """Read one value of `--adapters`; raises CompileError that lists the forms."""
    kind, *rest = text.split(":")
    for known in get_args(AdapterKind):
        if kind != known or len(rest) > (2 if known in ("lowrank", "bottleneck") else 1):
            continue
        where = LAST_STAGE if known == "tokens" or not rest else rest[0]
        sizes = rest if known == "tokens" else rest[1:]
        size = _number(sizes[0]) if sizes else _SIZES[known]
        if where and size:
            return AdapterRequest(known, where, size)
    raise CompileError(f"--adapters {text!r} is not known; the forms are {_ADAPTERS}")


def refuse_int8(request: ExtrasRequest, precisions: Collection[str]) -> None:
    """Raise CompileError when a bundle with int8 artifacts is to have adapters.

    Their values would have to be rounded to the steps of the int8 weights, which were fitted to the base
    weights: a small change vanishes and a large one saturates. A prompt is added before anything is rounded.
    """
    if "int8" in precisions and request.adapters:
        kinds = ", ".join(dict.fromkeys(adapter.kind for adapter in request.adapters))
        raise CompileError(
            f"int8 artifacts take patches of norm layers and prompts, but no adapters ({kinds}): "
            "leave --adapters out, or compile without --int8"
        )


def _number(text: str) -> int:
    """A size within limits; 0 for anything else."""
    return int(text) if re.fullmatch(r"\d{1,4}", text) and int(text) <= _MAX_SIZE else 0
