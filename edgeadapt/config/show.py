"""The configuration in effect, as TOML that says of every value where it came from.

What is printed parses to the same configuration again. Secrets are not in a configuration, only the
names of the files that hold them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

_DEFAULT = "default"


def effective_toml(config: msgspec.Struct, origins: Mapping[str, str]) -> str:
    """Every section and key with its value and origin.

    Args:
        config: a struct whose fields are sections: structs of plain values.
        origins: "section.key" to where it was set, as `edgeadapt.config.origins` tells it.
    """
    lines: list[str] = []
    for section in config.__struct_fields__:
        part = getattr(config, section)
        rows = [(key, getattr(part, key)) for key in part.__struct_fields__]
        settings = [
            f"# {key} is not set" if value is None else f"{key} = {_toml(value)}" for key, value in rows
        ]
        width = max((len(text) for text in settings if len(text) <= 60), default=0)
        lines.append(f"[{section}]")
        for (key, _), text in zip(rows, settings, strict=True):
            lines.append(f"{text:<{width}}  # {' '.join(origins.get(f'{section}.{key}', _DEFAULT).split())}")
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def _toml(value: Any) -> str:
    """A scalar, a list or an inline table; strings and numbers are JSON's, but for one character."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(str(key))} = {_toml(of)}" for key, of in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", r"\u007f")
