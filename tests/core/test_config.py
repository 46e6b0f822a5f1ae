"""Configuration mistakes name the file, the key and what was expected."""

from __future__ import annotations

from typing import Literal

import msgspec
import pytest

from edgeadapt import config
from edgeadapt.errors import ConfigError


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rate: float = 1.0
    mode: Literal["a", "b"] = "b"
    host: str | None = None


class Outer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    inner: Inner = Inner()


def test_a_good_file() -> None:
    assert config.parse('name = "x"\n[inner]\nrate = 2', Outer, source="a.toml") == Outer("x", Inner(2.0))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name = "x"\n[inner]\nrato = 2', ("a.toml", "inner.rato", "unknown key")),
        ('name = "x"\n[inner]\nrate = "fast"', ("a.toml", "inner.rate", "expected `float`, got `str`")),
        ("[inner]\nrate = 2", ("a.toml", "name", "missing key")),
        ("name = ", ("a.toml", "not valid TOML")),
    ],
)
def test_mistakes(text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, Outer, source="a.toml")
    for word in words:
        assert word in str(caught.value)


def test_environment_overrides() -> None:
    environ = {"EDGEADAPT__INNER__RATE": "0.5", "EDGEADAPT__NAME": "from env", "OTHER": "1"}
    assert config.parse('name = "x"', Outer, source="a", environ=environ) == Outer("from env", Inner(0.5))
    with pytest.raises(ConfigError, match="nonsense"):
        config.parse('name = "x"', Outer, source="a", environ={"EDGEADAPT__NONSENSE": "1"})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("EDGEADAPT__INNER__RATE", "fast", ("inner.rate: expected `float`, got `str`",)),
        ("EDGEADAPT__INNER__RATO", "2", ("unknown key 'inner.rato'",)),
        ("EDGEADAPT__INNER", "2", ("inner: expected",)),
        ("EDGEADAPT__INNER__MODE", "c", ("inner.mode: expected one of 'a', 'b', got 'c'",)),
        ("EDGEADAPT__OUTER__RATE", "2", ("unknown key 'outer'",)),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(
    name: str, value: str, words: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse('name = "x"', Outer, source="a.toml", environ={name: value})
    assert str(caught.value).startswith(f"environment {name}: ")
    assert "a.toml" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("value", ["123", "true", "1.5", "2024-01-01", "[1]"])
def test_a_text_from_the_environment_stays_text(value: str) -> None:
    environ = {"EDGEADAPT__NAME": value, "EDGEADAPT__INNER__MODE": "a", "EDGEADAPT__INNER__HOST": value}
    parsed = config.parse("", Outer, source="a", environ=environ)
    assert (parsed.name, parsed.inner.mode, parsed.inner.host) == (value, "a", value)
    assert config.parse("", Outer, source="a", environ={"EDGEADAPT__NAME": '"quoted"'}).name == "quoted"


def test_a_later_check_can_be_located_too() -> None:
    environ = {"EDGEADAPT__INNER__RATE": "9"}
    assert config.located("inner.rate: too much", "a.toml", environ).startswith(
        "environment EDGEADAPT__INNER"
    )
    assert config.located("inner.mode: odd", "a.toml", environ) == "a.toml: inner.mode: odd"
