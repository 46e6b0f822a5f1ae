"""The configuration that `edgeadapt cloud example-config` prints: everything there is, at its default."""

from __future__ import annotations

from edgeadapt.config.example import Unset, example_toml
from edgeadapt_cloud.config import CloudConfig

_INTRO = """\
# Configuration of the adaptation service: `edgeadapt cloud serve --config cloud.toml`.
# Only [bundle] path and [signing] key are needed; every other value shown is the default.
# Relative paths are relative to this file. Any key can be overridden from the environment, for
# instance EDGEADAPT__MQTT__PORT=1884.

"""
_SHOWN = {
    "bundle.path": "bundle",
    "signing.key": "signing-key.pem",
    "cohorts.budget_bytes_per_hour": Unset(4_000_000),
}


def cloud_toml() -> str:
    """The whole text."""
    return _INTRO + example_toml(CloudConfig, _SHOWN)
