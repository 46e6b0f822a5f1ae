"""Builds the service's parts from its configuration: the place that knows all of them.

The adapter is imported here, inside a function: torch is loaded only by a command that adapts.
Relative paths in the configuration are relative to its file. Not here: running (`service`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from edgeadapt.bundle import Bundle, read_folder
from edgeadapt.config import parse
from edgeadapt.errors import ConfigError
from edgeadapt_cloud.config import CloudConfig, check
from edgeadapt_cloud.core.jobs.job import AdapterPort
from edgeadapt_cloud.io import keys
from edgeadapt_cloud.service import Service


def read_config(path: Path, environ: Mapping[str, str] = os.environ) -> CloudConfig:
    """Read `cloud.toml`; raises ConfigError that names the file, the key and what was expected."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    config = parse(text, CloudConfig, source=str(path), environ=environ)
    try:
        return check(_absolute(config, path.absolute().parent))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def build_service(config: CloudConfig) -> Service:
    """Load key, bundle, teacher and source data; raises ConfigError or BundleError, naming what is wrong."""
    key = keys.load(Path(config.signing.key))
    bundle = read_folder(Path(config.bundle.path))
    return Service(config, bundle, build_adapter(config, bundle), key, Path(config.cloud.state_dir))


def build_adapter(config: CloudConfig, bundle: Bundle) -> AdapterPort:
    """The real adapter, with its teacher and labelled source data. Takes seconds."""
    from edgeadapt_cloud.adapt import Adapter, make_settings, strategies
    from edgeadapt_cloud.adapt.source import LabelledSource
    from edgeadapt_models.data import load

    if config.strategy.name not in strategies():
        known = ", ".join(strategies())
        raise ConfigError(f"strategy.name: unknown strategy {config.strategy.name!r}; known: {known}")
    settings = make_settings(
        student=config.bundle.student,
        teacher=config.bundle.teacher,
        strategy=config.strategy.name,
        options=config.strategy.options,
        gate=config.gate.options,
    )
    root = Path(config.bundle.dataset_root) if config.bundle.dataset_root else None
    source = LabelledSource.of(load(config.bundle.dataset, root=root), settings.source)
    adapter: AdapterPort = Adapter(settings, bundle, source)
    return adapter


def _absolute(config: CloudConfig, base: Path) -> CloudConfig:
    replace = msgspec.structs.replace

    def absolute(path: str) -> str:
        return str(base / Path(path).expanduser()) if path else ""

    mqtt = config.mqtt
    return replace(
        config,
        cloud=replace(config.cloud, state_dir=absolute(config.cloud.state_dir)),
        bundle=replace(
            config.bundle,
            path=absolute(config.bundle.path),
            dataset_root=absolute(config.bundle.dataset_root),
        ),
        signing=replace(config.signing, key=absolute(config.signing.key)),
        mqtt=replace(
            mqtt,
            password_file=absolute(mqtt.password_file),
            tls_ca=absolute(mqtt.tls_ca),
            tls_cert=absolute(mqtt.tls_cert),
            tls_key=absolute(mqtt.tls_key),
        ),
    )
