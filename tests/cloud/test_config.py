"""The configuration: the example is complete, and mistakes are named."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edgeadapt.config import parse
from edgeadapt.errors import ConfigError
from edgeadapt_cloud.config import CloudConfig
from edgeadapt_cloud.example import example_toml, field_comments
from edgeadapt_cloud.wiring import read_config

SECTIONS = [field.type for field in msgspec.structs.fields(CloudConfig)]
LEAST = '[bundle]\npath = "b"\n[signing]\nkey = "k.pem"\n'


def written(folder: Path, text: str) -> Path:
    """A configuration file."""
    path = folder / "cloud.toml"
    path.write_text(text)
    return path


def test_example_is_valid_and_holds_the_defaults() -> None:
    example = parse(example_toml(), CloudConfig, source="example")
    least = parse(LEAST, CloudConfig, source="least")
    assert msgspec.structs.replace(example, bundle=least.bundle, signing=least.signing) == least


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_key_is_in_the_example_with_a_comment(section: type[msgspec.Struct]) -> None:
    comments, text = field_comments(section), example_toml()
    for name in section.__struct_fields__:
        assert f"\n{name} = " in text or f"\n# {name} = " in text
        assert name in comments
    assert all(comments[name] or name in ("port", "tls_key") for name in comments)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, LEAST), {})
    assert config.bundle.path == str(tmp_path / "b")
    assert config.signing.key == str(tmp_path / "k.pem")
    assert config.cloud.state_dir == str(tmp_path / "cloud-state")
    assert config.mqtt.tls_ca == ""


def test_environment_overrides(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, LEAST), {"EDGEADAPT__MQTT__PORT": "1999"})
    assert config.mqtt.port == 1999


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cloud.toml: missing key 'bundle'"),
        (LEAST + "[mqtt]\nprot = 1\n", "cloud.toml: unknown key 'mqtt.prot'"),
        (LEAST + '[mqtt]\nport = "x"\n', "cloud.toml: mqtt.port: expected `int`"),
        (LEAST + "[mqtt]\nport = 0\n", "cloud.toml: mqtt.port: must be 1 to 65535"),
        (LEAST + '[cloud]\nfleet = "a/b"\n', "cloud.toml: cloud.fleet 'a/b'"),
        (LEAST + "[jobs]\ngrowth = 1.0\n", "cloud.toml: jobs.growth"),
        (LEAST + "[cohorts]\njoin_distance = 0.9\n", "cloud.toml: cohorts.leave_distance"),
        ("[bundle", "cloud.toml: not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as found:
        read_config(written(tmp_path, text), {})
    assert words in str(found.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cloud\.toml cannot be read"):
        read_config(tmp_path / "cloud.toml")
