"""An example configuration, written from the structs themselves: every key, its default, its comment.

The comments are those above the fields in the source, so an example cannot fall behind.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from typing import Any, get_type_hints

import msgspec

from edgeadapt.errors import ConfigError


def example_toml(kind: type[msgspec.Struct], needed: Mapping[str, Any]) -> str:
    """TOML with every section and key of `kind`.

    Args:
        kind: a struct whose fields are sections: structs of plain values.
        needed: "section.key" to the value to show in place of the default, or for want of one.

    Raises:
        ConfigError: a key has no default and none was given.
    """
    return "\n".join(_section(name, section, needed) for name, section in get_type_hints(kind).items())


def field_comments(kind: type[msgspec.Struct]) -> dict[str, list[str]]:
    """Field name to the comment lines above it."""
    comments: dict[str, list[str]] = {}
    held: list[str] = []
    for line in map(str.strip, inspect.getsource(kind).splitlines()):
        name = line.split(":", 1)[0]
        if line.startswith("#"):
            held.append(line)
        elif name in kind.__struct_fields__:
            comments[name], held = held, []
    return comments


class Unset(msgspec.Struct, frozen=True):
    """In place of a value: the key has no default, and is shown, commented out, with this one."""

    shown: Any


def _section(name: str, kind: type[msgspec.Struct], needed: Mapping[str, Any]) -> str:
    purpose = re.sub(r"^\[\w+\]: ", "", (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " "))
    lines = [f"# {purpose[:1].upper()}{purpose[1:]}", f"[{name}]"]
    comments = field_comments(kind)
    for field in msgspec.structs.fields(kind):
        value = field.default
        if value is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
            value = field.default_factory()
        value = needed.get(f"{name}.{field.name}", value)
        if value is msgspec.NODEFAULT:
            raise ConfigError(f"{name}.{field.name} has no default: the example needs a value")
        mark = "# " if isinstance(value, Unset) else ""
        shown = value.shown if isinstance(value, Unset) else value
        lines += [*comments[field.name], f"{mark}{field.name} = {_toml(shown)}"]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """Scalars and lists are JSON's here; of tables only the empty one is written."""
    return "{}" if value == {} else json.dumps(value)
