"""The protocol's topics and messages as a Markdown page, made from the structs themselves."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from edgeadapt.wire.asyncapi import MESSAGES, message_name
from edgeadapt.wire.channels import CHANNELS
from edgeadapt.wire.codec import encode
from edgeadapt.wire.examples import EXAMPLES
from edgeadapt.wire.messages import AnyMessage
from edgeadapt.wire.words import FIELDS, PROTOCOL


def markdown() -> str:
    """Every topic and every message with its fields and its size, as a Markdown page."""
    lines = [
        "# Topics and messages",
        "",
        "Made by `edgeadapt protocol messages` from `edgeadapt/wire/messages.py`; do not edit.",
        "How they follow one another is in [protocol.md](../protocol.md).",
        "",
        "| topic | message | QoS | retained | expires |",
        "|---|---|---|---|---|",
    ]
    for channel in CHANNELS:
        marks = " | ".join("yes" if mark else "" for mark in (channel.retain, channel.expires))
        lines.append(f"| `{channel.address}` | {message_name(channel)} | {channel.qos} | {marks} |")
    for kind in MESSAGES:
        lines += ["", f"## {kind.__name__}", "", _size(kind), ""]
        lines += inspect.cleandoc(kind.__doc__ or "").splitlines()
        lines += _table(kind)
    parts = [part for kind in MESSAGES for part in _parts(kind)]
    for part in dict.fromkeys(parts):
        lines += ["", f"## {part.__name__}", "", "Part of a message.", ""]
        lines += inspect.cleandoc(part.__doc__ or "").splitlines()
        lines += _table(part)
    return "\n".join(lines) + "\n"


def _size(kind: type[AnyMessage]) -> str:
    example = next(message for message in EXAMPLES if type(message) is kind)
    return f"`type` is `{kind.__struct_config__.tag}`. The example takes {len(encode(example))} bytes."


def _table(kind: type[msgspec.Struct]) -> list[str]:
    lines = ["", "| field | type | default | |", "|---|---|---|---|"]
    for field in msgspec.structs.fields(kind):
        words = PROTOCOL if field.name == "protocol" else FIELDS[kind.__name__][field.name]
        default = "" if field.default is msgspec.NODEFAULT else f"`{_default(field.default)}`"
        lines.append(f"| `{field.name}` | {_type(field.type)} | {default} | {words} |")
    return lines


def _default(value: object) -> str:
    if isinstance(value, msgspec.Struct):
        return f"{type(value).__name__}()"
    if value is None:
        return "null"
    if isinstance(value, tuple):
        return str(list(value))
    return '""' if value == "" else "(empty)" if value == b"" else str(value)


def _type(annotation: Any) -> str:
    """A field's type in words."""
    info = msgspec.inspect.type_info(annotation)
    return _type_words(info)


def _type_words(info: Any) -> str:
    if isinstance(info, msgspec.inspect.LiteralType):
        return ", ".join(f'"{value}"' for value in sorted(map(str, info.values)))
    if isinstance(info, msgspec.inspect.StructType):
        return info.cls.__name__
    if isinstance(info, msgspec.inspect.VarTupleType):
        return f"array of {_type_words(info.item_type)}"
    if isinstance(info, msgspec.inspect.TupleType):
        return f"array of {len(info.item_types)} {_type_words(info.item_types[0])}"
    if isinstance(info, msgspec.inspect.UnionType):
        return " or ".join(sorted(_type_words(part) for part in info.types))
    names = {"Int": "int", "Float": "float", "Str": "str", "Bytes": "bin", "Bool": "bool", "None": "null"}
    return names[type(info).__name__.removesuffix("Type")]


def _parts(kind: type[msgspec.Struct]) -> list[type[msgspec.Struct]]:
    """Structs within a message."""
    found = []
    for field in msgspec.structs.fields(kind):
        info: Any = msgspec.inspect.type_info(field.type)
        info = getattr(info, "item_type", info)
        if isinstance(info, msgspec.inspect.StructType):
            found.append(info.cls)
    return found
