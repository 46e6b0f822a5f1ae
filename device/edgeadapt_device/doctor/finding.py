"""What a check found: one line, and what to do about it."""

from __future__ import annotations

from enum import Enum

import msgspec


class Level(str, Enum):
    """How bad it is. A device does not work as configured while anything has failed."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Finding(msgspec.Struct, frozen=True):
    """One line of the examination.

    Attributes:
        check: what was looked at, in a word.
        level: how bad it is.
        text: what was found, with names and numbers.
        fix: what to do, "" when nothing has to be done.
    """

    check: str
    level: Level
    text: str
    fix: str = ""


def ok(check: str, text: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, text)


def warning(check: str, text: str, fix: str) -> Finding:
    """It works, but not as well or not as long as it should."""
    return Finding(check, Level.WARNING, text, fix)


def failed(check: str, text: str, fix: str) -> Finding:
    """It does not work."""
    return Finding(check, Level.FAILED, text, fix)
