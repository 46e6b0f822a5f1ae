"""The configuration of an agent: none, a file or a value, with keys given by hand on top.

What is found is checked like a daemon's. Nothing here reads the environment: that is the command line's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import msgspec

from edgeadapt import config as toml
from edgeadapt.errors import ConfigError
from edgeadapt_device.config import DeviceConfig, DeviceSection, HttpSection, MqttSection, check

Keys = Mapping[str, object] | msgspec.Struct
_NAME = "agent"


class Overrides(TypedDict, total=False):
    """Keys over a configuration: a mapping changes the keys it names, a section replaces all of them."""

    device: Keys
    mqtt: Keys
    engine: Keys
    probe: Keys
    statistics: Keys
    domains: Keys
    flagging: Keys
    budget: Keys
    delivery: Keys
    privacy: Keys
    trial: Keys
    trust: Keys
    output: Keys
    http: Keys


def resolve(config: DeviceConfig | Path | str | None, overrides: Overrides) -> DeviceConfig:
    """The whole configuration, checked.

    Raises:
        ConfigError: a file cannot be read, or a section, a key or a value is wrong; the message names it.
    """
    base = _base(config, online="mqtt" in overrides)
    sections: dict[str, msgspec.Struct] = {}
    for name, keys in overrides.items():
        if name not in Overrides.__annotations__:
            known = ", ".join(Overrides.__annotations__)
            raise ConfigError(f"{name}: no section of an agent's configuration; there are: {known}")
        sections[name] = _merged(name, getattr(base, name), keys)
    whole = check(msgspec.structs.replace(base, **sections))
    if config is None and whole.mqtt.enabled and whole.device.name == _NAME:
        raise ConfigError(
            'device.name: expected one of its own for a device that talks to a broker: device={"name": "..."}'
        )
    return whole


def _base(config: DeviceConfig | Path | str | None, *, online: bool) -> DeviceConfig:
    if isinstance(config, DeviceConfig):
        return config
    if config is not None:
        try:
            text = Path(config).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{config} cannot be read: {error}") from error
        return toml.parse(text, DeviceConfig, source=str(config), environ={})
    # Whoever names a broker wants one; nobody wants a port that was not asked for.
    return DeviceConfig(
        device=DeviceSection(name=_NAME), mqtt=MqttSection(enabled=online), http=HttpSection(enabled=False)
    )


def _merged(name: str, base: msgspec.Struct, keys: object) -> msgspec.Struct:
    kind = type(base)
    if isinstance(keys, kind):
        return keys
    if not isinstance(keys, Mapping):
        raise ConfigError(
            f"{name}: expected a mapping of keys or a {kind.__name__}, got {type(keys).__name__}"
        )
    unknown = [str(key) for key in keys if key not in kind.__struct_fields__]
    if unknown:
        known = ", ".join(kind.__struct_fields__)
        raise ConfigError(f"{name}.{unknown[0]}: no such key; there are: {known}")
    return toml.convert({**msgspec.structs.asdict(base), **keys}, kind, section=name)
