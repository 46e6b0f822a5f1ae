"""From TOML text to one frozen, checked configuration struct.

`parse` is pure: it takes text. Every mistake becomes a ConfigError that names the file, the key and
what was expected. Structs must be `msgspec.Struct(frozen=True, forbid_unknown_fields=True)`; their
field comments are the documentation. Reading the file and the environment belongs to the command line.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from edgeadapt.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")
_ENV_PREFIX = "EDGEADAPT__"


def parse(text: str, kind: type[T], *, source: str, environ: Mapping[str, str] | None = None) -> T:
    """Parse TOML `text` into `kind`.

    Args:
        text: the file's content.
        kind: a frozen msgspec struct that forbids unknown fields.
        source: the file's name, for error messages.
        environ: `EDGEADAPT__SECTION__KEY=value` overrides; values are read as TOML, else as strings, and
            always as strings where the field is one.

    Raises:
        ConfigError: names the file (or the variable), the key, and what was expected.
    """
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not valid TOML: {error}") from error
    for name, value in (environ or {}).items():
        if name.startswith(_ENV_PREFIX):
            _override(document, name, value, kind)
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        text = _with_choices(_explain(str(error)), kind)
        raise ConfigError(located(text, source, environ or {})) from error


def convert(values: Mapping[str, object], kind: type[T], *, section: str) -> T:
    """Values of one section's keys as its struct; raises ConfigError that names the key and what it takes."""
    try:
        return msgspec.convert(dict(values), kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{section}.{_with_choices(_explain(str(error)), kind)}") from error


def located(message: str, source: str, environ: Mapping[str, str]) -> str:
    """Put in front of a message about `section.key: ...` where that value came from.

    Args:
        message: begins with the key, or names it in quotes.
        source: the file's name.
        environ: a variable in it that sets the key is named instead of the file.
    """
    found = re.match(r"(?:\w+ key ')?([\w.]+)", message)
    key = found[1] if found else ""
    for name in environ:
        # A section that nobody knows is named by what is below it.
        if name.startswith(_ENV_PREFIX) and f"{'.'.join(_path(name))}.".startswith(f"{key}."):
            return f"environment {name}: {message}"
    return f"{source}: {message}"


def origins(text: str, *, source: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Where each key got its value from: the file, or "environment NAME"; keys left at their default are not
    in it.

    Args:
        text: the file's content, which `parse` has taken.
        source: the file's name.
        environ: as for `parse`.

    Returns:
        "section.key" to its origin.
    """
    found: dict[str, str] = {}
    for section, part in tomllib.loads(text).items():
        keys = part if isinstance(part, dict) else {"": None}
        found.update({f"{section}.{key}".rstrip("."): source for key in keys})
    names = [name for name in environ if name.startswith(_ENV_PREFIX)]
    return found | {".".join(_path(name)): f"environment {name}" for name in names}


def _path(name: str) -> list[str]:
    """A variable's name as section and key."""
    return name[len(_ENV_PREFIX) :].lower().split("__")


def _is_text(kind: Any, path: list[str]) -> bool:
    """True when the field at `path` of a struct holds a string, or one of some strings."""
    for name in path:
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            return False
        kind = get_type_hints(kind).get(name)
    parts = get_args(kind) or (kind,)
    return any(part is str or isinstance(part, str) for part in parts) and get_origin(kind) is not tuple


def _override(document: dict[str, Any], name: str, value: str, kind: Any) -> None:
    *sections, key = _path(name)
    table = document
    for section in sections:
        child = table.setdefault(section, {})
        if not isinstance(child, dict):
            raise ConfigError(f"environment {name}: {section!r} is a value, not a section")
        table = child
    try:
        parsed = tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        parsed = value
    table[key] = value if _is_text(kind, [*sections, key]) and not isinstance(parsed, str) else parsed


def _with_choices(message: str, kind: Any) -> str:
    """`section.key: Invalid enum value 'x'` with the values that there are."""
    found = re.fullmatch(r"(?P<where>[\w.]+): Invalid enum value '(?P<value>.*)'", message)
    if not found:
        return message
    for name in found["where"].split("."):
        kind = get_type_hints(kind).get(name) if isinstance(kind, type) else None
    choices = ", ".join(repr(choice) for choice in get_args(kind))
    return f"{found['where']}: expected one of {choices}, got {found['value']!r}" if choices else message


def _explain(message: str) -> str:
    """msgspec's `... - at `$.a.b`` as `a.b: ...`, in words a person can act on."""
    found = re.fullmatch(r"(?P<what>.*?)(?: - at `\$\.?(?P<where>.*)`)?", message, flags=re.DOTALL)
    what, where = (found["what"], found["where"] or "") if found else (message, "")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", what)
    missing = re.fullmatch(r"Object missing required field `(.*)`", what)
    if unknown:
        key = f"{where}.{unknown[1]}" if where else unknown[1]
        return f"unknown key {key!r}: remove it or check its spelling"
    if missing:
        key = f"{where}.{missing[1]}" if where else missing[1]
        return f"missing key {key!r}"
    what = what.replace("Expected", "expected", 1)
    return f"{where}: {what}" if where else what
