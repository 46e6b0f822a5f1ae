"""An agent's configuration: nothing, a file, a value, and keys by hand on top; mistakes are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeadapt.errors import ConfigError
from edgeadapt_device.config import DeviceConfig, DeviceSection, MqttSection, ProbeSection
from edgeadapt_device.config.settings import Overrides, resolve


def given(config: DeviceConfig | Path | str | None = None, **overrides: Any) -> DeviceConfig:
    return resolve(config, Overrides(**overrides))  # type: ignore[typeddict-item]


def test_without_a_word_it_is_offline_and_opens_no_port() -> None:
    config = given()
    assert not config.mqtt.enabled
    assert not config.http.enabled
    assert config.device.name == "agent"
    assert config.probe == ProbeSection()


def test_whoever_names_a_broker_is_online_and_needs_a_name() -> None:
    config = given(mqtt={"host": "broker.local"}, device={"name": "camera-1"})
    assert config.mqtt == MqttSection(host="broker.local")
    with pytest.raises(ConfigError, match=r"device\.name: expected one of its own"):
        given(mqtt={"host": "broker.local"})
    assert not given(mqtt={"enabled": False}).mqtt.enabled


def test_keys_change_what_they_name_and_a_section_replaces_all() -> None:
    base = DeviceConfig(device=DeviceSection(name="a", fleet="f"), probe=ProbeSection(share=0.1))
    config = given(base, device={"name": "b"}, probe=ProbeSection(young_frames=7))
    assert (config.device.name, config.device.fleet) == ("b", "f")
    assert config.probe == ProbeSection(young_frames=7)
    assert given(base) == base


def test_a_file_is_read_and_the_environment_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "device.toml"
    path.write_text('[device]\nname = "camera-1"\n[mqtt]\nport = 1999\n')
    monkeypatch.setenv("EDGEADAPT__MQTT__PORT", "7")
    for config in (given(path), given(str(path))):
        assert (config.device.name, config.mqtt.port, config.mqtt.enabled) == ("camera-1", 1999, True)
    assert given(path, mqtt={"enabled": False}).mqtt == MqttSection(port=1999, enabled=False)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"source": {"path": "x"}}, r"source: no section of an agent's configuration; there are: device"),
        ({"probe": {"shares": 1.0}}, r"probe\.shares: no such key; there are: share"),
        ({"probe": {"share": "much"}}, r"probe\.share: expected `float`, got `str`"),
        ({"engine": {"precision": "int4"}}, r"engine\.precision: expected one of 'auto', .*, got 'int4'"),
        ({"probe": {"share": 1.5}}, r"probe\.share: expected a number from 0 to 1"),
        ({"probe": 1.5}, "probe: expected a mapping of keys or a ProbeSection, got float"),
        ({"probe": MqttSection()}, "probe: expected a mapping of keys or a ProbeSection, got MqttSection"),
        ({"trust": {"keys": ["00"]}}, r"trust\.keys\[0\]"),
    ],
)
def test_a_mistake_names_the_key(overrides: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        given(**overrides)


def test_a_file_that_cannot_be_read_or_understood_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read"):
        given(tmp_path / "none.toml")
    (tmp_path / "mine.toml").write_text("[device]\nname = 7\n")
    with pytest.raises(ConfigError, match=r"mine\.toml.*device\.name"):
        given(tmp_path / "mine.toml")


def test_every_section_of_a_device_but_the_source_can_be_given() -> None:
    assert set(Overrides.__annotations__) == set(DeviceConfig.__struct_fields__) - {"source"}
