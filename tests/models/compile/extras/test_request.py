"""What `--prompt` and `--adapters` may say, and what is said about anything else."""

from __future__ import annotations

import pytest

from edgeadapt.errors import CompileError
from edgeadapt_models.compile.extras.request import (
    AdapterRequest,
    ExtrasRequest,
    PromptRequest,
    parse_adapter,
    parse_prompt,
    refuse_int8,
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("full", PromptRequest("full")),
        ("border:30", PromptRequest("border", border=30)),
        ("low:16", PromptRequest("low", grid=(16, 16))),
        ("low:4x12", PromptRequest("low", grid=(4, 12))),
    ],
)
def test_prompts(text: str, wanted: PromptRequest) -> None:
    assert parse_prompt(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "fog", "full:3", "border", "border:0", "border:-1", "low:0x3", "low:99999"]
)
def test_other_prompts_are_refused_with_the_forms(text: str) -> None:
    with pytest.raises(CompileError, match=r"border:PIXELS, low:SIZE"):
        parse_prompt(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("conv", AdapterRequest("conv", "last-stage")),
        ("conv:layer4.*", AdapterRequest("conv", "layer4.*")),
        ("lowrank:all", AdapterRequest("lowrank", "all", 4)),
        ("lowrank:all:16", AdapterRequest("lowrank", "all", 16)),
        ("bottleneck:last-stage:32", AdapterRequest("bottleneck", "last-stage", 32)),
        ("tokens", AdapterRequest("tokens", "last-stage", 8)),
        ("tokens:50", AdapterRequest("tokens", "last-stage", 50)),
    ],
)
def test_adapters(text: str, wanted: AdapterRequest) -> None:
    assert parse_adapter(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "lora", "conv:", "conv:all:4", "lowrank:all:0", "tokens:many", "tokens:1:2"]
)
def test_other_adapters_are_refused_with_the_forms(text: str) -> None:
    with pytest.raises(CompileError, match=r"lowrank\[:WHERE\[:RANK\]\]"):
        parse_adapter(text)


def test_the_same_adapters_twice() -> None:
    with pytest.raises(CompileError, match="--adapters conv:last-stage is given twice"):
        ExtrasRequest(adapters=(parse_adapter("conv"), parse_adapter("conv:last-stage")))


def test_int8_takes_no_adapter() -> None:
    request = ExtrasRequest(adapters=(parse_adapter("conv"), parse_adapter("lowrank:all")))
    refuse_int8(request, ())
    with pytest.raises(CompileError, match=r"no adapters \(conv, lowrank\): leave --adapters out"):
        refuse_int8(request, ("int8",))
    refuse_int8(ExtrasRequest(prompt=parse_prompt("full")), ("int8",))
