"""An example `cloud.toml`, written from the structs themselves: every key, its default, its comment.

The comments are those above the fields in `config`, so the example cannot fall behind.
"""

from __future__ import annotations

import inspect
import json
from typing import Any

import msgspec

from edgeadapt_cloud.config import CloudConfig

_INTRO = """\
# Configuration of the adaptation service: `edgeadapt cloud serve --config cloud.toml`.
# Only [bundle] path and [signing] key are needed; every other value shown is the default.
# Relative paths are relative to this file. Any key can be overridden from the environment, for
# instance EDGEADAPT__MQTT__PORT=1884.
"""
_NEEDED = {("bundle", "path"): "bundle", ("signing", "key"): "signing-key.pem"}


def example_toml() -> str:
    """The whole text."""
    parts = [_INTRO]
    for section in msgspec.structs.fields(CloudConfig):
        parts.append(_section(section.name, section.type))
    return "\n".join(parts)


def field_comments(kind: type[msgspec.Struct]) -> dict[str, list[str]]:
    """Field name to the comment lines above it, or above the first field of its group."""
    comments: dict[str, list[str]] = {}
    held: list[str] = []
    for line in map(str.strip, inspect.getsource(kind).splitlines()):
        name = line.split(":", 1)[0]
        if line.startswith("#"):
            held.append(line)
        elif name in kind.__struct_fields__:
            comments[name] = held
            held = []
    return comments


def _section(name: str, kind: type[msgspec.Struct]) -> str:
    lines = [f"[{name}]"]
    comments = field_comments(kind)
    for field in msgspec.structs.fields(kind):
        lines += comments[field.name]
        default = _NEEDED.get((name, field.name), field.default)
        if default is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        if default is None:
            lines.append(f"# {field.name} = 4000000")
        else:
            lines.append(f"{field.name} = {_toml(default)}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    return "{}" if value == {} else json.dumps(value)
