"""What the commands of `edgeadapt device` share: reading the configuration."""

from __future__ import annotations

import os
from pathlib import Path

import click

from edgeadapt import config as toml
from edgeadapt.errors import ConfigError
from edgeadapt_device.config import DeviceConfig, check

CONFIG = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=Path("device.toml"),
    show_default=True,
    help="The device's configuration; `edgeadapt device example-config` prints one.",
)


def hush_decoders() -> None:
    """Keep the FFmpeg in OpenCV from printing every picture that it cannot decode: that is told as a state.

    Whoever sets the variable (0 to 56, as FFmpeg counts) hears it again.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def read_text(path: Path) -> str:
    """The file as text; raises ConfigError that says how to make one."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}. `edgeadapt device example-config > {path}` makes one"
        ) from error


def read_config(path: Path) -> DeviceConfig:
    """Read, override from EDGEADAPT__SECTION__KEY, and check; raises ConfigError naming file and key."""
    parsed = toml.parse(read_text(path), DeviceConfig, source=str(path), environ=os.environ)
    try:
        return check(parsed)
    except ConfigError as error:
        raise ConfigError(toml.located(str(error), str(path), os.environ)) from error
