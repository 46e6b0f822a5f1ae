"""The grammar of domains."""

import pytest

from edgeadapt.errors import ConfigError
from edgeadapt_models.data.streams.domain import Condition, parse_domain


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("clean", "clean"),
        (" fog:5", "fog:5"),
        ("fog:1-5-1", "fog:1-5-1"),
        ("mixed( fog:5, shot_noise:3 )", "mixed(fog:5,shot_noise:3)"),
        ("mixed(fog:5)", "fog:5"),
    ],
)
def test_names_are_canonical(text: str, name: str) -> None:
    domain = parse_domain(text)
    assert domain.name == name
    assert parse_domain(domain.name) == domain


@pytest.mark.parametrize(
    "text", ["", "fog", "fog:", "fog:x", "fog:5:5", "mixed()", "mixed(fog:5", "fog:1-", "clean:1"]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"domain|corruption"):
        parse_domain(text)


def test_unknown_corruptions_and_severities_are_named() -> None:
    with pytest.raises(ConfigError, match="unknown corruption 'haze'"):
        parse_domain("haze:3")
    with pytest.raises(ConfigError, match="severity of fog must be 1 to 5, got 9"):
        parse_domain("mixed(snow:1,fog:9)")


def test_a_ramp_rises_and_falls() -> None:
    severities = Condition("fog", (1, 5, 1)).severities(101).tolist()
    assert (severities[0], severities[50], severities[100]) == (1, 5, 1)
    assert severities[:51] == sorted(severities[:51])
    assert severities[50:] == sorted(severities[50:], reverse=True)
    assert set(severities) == {1, 2, 3, 4, 5}
    assert Condition("fog", (4,)).severities(3).tolist() == [4, 4, 4]
    assert Condition("fog", (2, 5)).severities(1).tolist() == [2]
