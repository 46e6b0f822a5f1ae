"""Builds the service's parts from its configuration: the place that knows all of them.

The adapter is imported here, inside a function: torch is loaded only by a command that adapts.
Relative paths in the configuration are relative to its file. Not here: running (`service`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgeadapt.bundle import Bundle, read_folder
from edgeadapt.config import parse
from edgeadapt.errors import ConfigError
from edgeadapt_cloud.config import BundleSection, CloudConfig, check
from edgeadapt_cloud.core.jobs.job import AdapterPort
from edgeadapt_cloud.io import keys
from edgeadapt_cloud.service import Service

if TYPE_CHECKING:
    from edgeadapt_models.data import Dataset


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
    _check_networks(config.bundle, bundle)
    dataset = load(config.bundle.dataset, root=root)
    check_dataset(config.bundle, dataset)
    source = LabelledSource.of(dataset, settings.source)
    adapter: AdapterPort = Adapter(settings, bundle, source)
    return adapter


def _check_networks(section: BundleSection, bundle: Bundle) -> None:
    """Raise ConfigError unless student and teacher take what the bundle takes, and tell as many classes."""
    from edgeadapt_models.zoo.weights import weights_card

    spec, count = bundle.manifest.input, len(bundle.manifest.classes)
    for key, name in (("student", section.student), ("teacher", section.teacher)):
        card = weights_card(name)
        shape = (card.channels, card.height, card.width)
        if (spec.kind, spec.shape, count) != ("image", shape, len(card.classes)):
            raise ConfigError(
                f"bundle.{key}: {name!r} takes images {shape} and tells {len(card.classes)} classes, bundle "
                f"{bundle.manifest.name!r} takes {spec.kind}s {spec.shape} and tells {count}. Name the "
                "student that the bundle was compiled from, and a teacher and a data set to match; "
                "a model that is not of the zoo adapts on its device, without a cloud"
            )


def check_dataset(section: BundleSection, dataset: Dataset) -> None:
    """Raise ConfigError unless student and teacher were trained on data of this kind."""
    from edgeadapt_models.zoo.weights import weights_card

    for key, name in (("student", section.student), ("teacher", section.teacher)):
        card = weights_card(name)
        shape = (card.height, card.width, card.channels)
        if (shape, card.classes) != (dataset.image_shape, tuple(dataset.classes)):
            raise ConfigError(
                f"bundle.dataset: {section.dataset!r} is not what bundle.{key} {name!r} was trained on: that "
                f"has images {shape} of {', '.join(card.classes[:3])}..., "
                f"this {dataset.image_shape} of {', '.join(dataset.classes[:3])}..."
            )


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
