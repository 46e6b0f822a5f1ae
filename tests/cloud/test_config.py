"""The configuration: the example is complete, and mistakes are named."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edgeadapt.config import parse
from edgeadapt.config.example import field_comments
from edgeadapt.errors import ConfigError
from edgeadapt_cloud.config import CloudConfig
from edgeadapt_cloud.example import cloud_toml
from edgeadapt_cloud.wiring import read_config

SECTIONS = [field.type for field in msgspec.structs.fields(CloudConfig)]
LEAST = '[bundle]\npath = "b"\n[signing]\nkey = "k.pem"\n'


def written(folder: Path, text: str) -> Path:
    """A configuration file."""
    path = folder / "cloud.toml"
    path.write_text(text)
    return path


def test_example_is_valid_and_holds_the_defaults() -> None:
    example = parse(cloud_toml(), CloudConfig, source="example")
    least = parse(LEAST, CloudConfig, source="least")
    assert msgspec.structs.replace(example, bundle=least.bundle, signing=least.signing) == least


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_key_is_in_the_example_with_a_comment(section: type[msgspec.Struct]) -> None:
    comments, text = field_comments(section), cloud_toml()
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
        (LEAST + "[cohorts]\nleave_distance = nan\n", "cloud.toml: cohorts.leave_distance: nan is no number"),
        (LEAST + "[gate.options]\nmargin = nan\n", "cloud.toml: gate.options.margin: nan is no number"),
        (LEAST + '[mqtt]\nhost = ""\n', "cloud.toml: mqtt.host: must not be empty"),
        ('[bundle]\npath = ""\n[signing]\nkey = "k"\n', "cloud.toml: bundle.path: must not be empty"),
        (LEAST + "[mqtt]\nkeepalive_s = 70000\n", "cloud.toml: mqtt.keepalive_s: must be 1 to 65535"),
        (LEAST + "[mqtt]\nsession_expiry_s = -1\n", "cloud.toml: mqtt.session_expiry_s: must be 0 to"),
        (LEAST + "[rollout]\npatch_lifetime_s = -1.0\n", "rollout.patch_lifetime_s: must be more than 0"),
        (LEAST + "[rollout]\nmin_reverted = 0\n", "rollout.min_reverted: must be at least 1"),
        (LEAST + "[cloud]\nquarantine_kept = -1\n", "cloud.quarantine_kept: must be at least 0"),
        (LEAST + "[cohorts]\nmax_cohorts = 0\n", "cohorts.max_cohorts: must be at least 1"),
        ("[bundle", "cloud.toml: not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as found:
        read_config(written(tmp_path, text), {})
    assert words in str(found.value)


NUMBERS = [
    f"{section.name}.{field.name}"
    for section in msgspec.structs.fields(CloudConfig)
    for field in msgspec.structs.fields(section.type)
    if isinstance(field.default, (int, float)) and not isinstance(field.default, bool)
]


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("value", ["nan", "inf", "-1", str(1 << 60)])
def test_no_number_is_taken_that_makes_no_sense(tmp_path: Path, key: str, value: str) -> None:
    section, name = key.split(".")
    with pytest.raises(ConfigError) as found:
        read_config(written(tmp_path, f"{LEAST}[{section}]\n{name} = {value}\n"), {})
    assert f"cloud.toml: {section}." in str(found.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cloud\.toml cannot be read"):
        read_config(tmp_path / "cloud.toml")
