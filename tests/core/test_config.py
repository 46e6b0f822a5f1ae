"""Configuration mistakes name the file, the key and what was expected."""

from __future__ import annotations

import msgspec
import pytest

from edgeadapt import config
from edgeadapt.errors import ConfigError


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rate: float = 1.0


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
