"""Topic names, both ways: build one, or take one apart.

Everything lives under `edgeadapt/v1/{fleet}/`. Names of fleets, devices and cohorts are restricted so
that no name can reach into another's topics.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgeadapt.errors import ConfigError, WireError

ROOT = "edgeadapt/v1"
UP_KINDS = ("status", "sample", "descriptor", "signature", "metric", "outcome", "reply")
DOWN_KINDS = ("ack", "assign", "command", "want")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def is_name(name: str) -> bool:
    """True for what may stand in a topic as the name of a fleet, a device or a cohort."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str, what: str) -> str:
    """Return `name`; raises ConfigError unless it is 1 to 64 letters, digits, '.', '_' or '-'."""
    if not is_name(name):
        raise ConfigError(
            f"{what} {name!r}: use 1 to 64 letters, digits, '.', '_' or '-', starting with no dot"
        )
    return name


@dataclass(frozen=True, slots=True)
class DeviceTopic:
    """A topic of one device: `direction` is "up" or "down", `kind` one of UP_KINDS or DOWN_KINDS."""

    fleet: str
    device: str
    direction: str
    kind: str


@dataclass(frozen=True, slots=True)
class PatchTopic:
    """The retained patch of one cohort on one channel."""

    fleet: str
    cohort: str
    channel: str


@dataclass(frozen=True, slots=True)
class CloudTopic:
    """A topic of the service: `name` is "" for its status, and who asked for a reply."""

    fleet: str
    name: str


def up(fleet: str, device: str, kind: str) -> str:
    """Topic of a message from a device."""
    return f"{ROOT}/{fleet}/{device}/up/{kind}"


def down(fleet: str, device: str, kind: str) -> str:
    """Topic of a message to one device."""
    return f"{ROOT}/{fleet}/{device}/down/{kind}"


def patch(fleet: str, cohort: str, channel: str) -> str:
    """Topic of a cohort's retained patch; `channel` is "stable" or "canary"."""
    return f"{ROOT}/{fleet}/cohort/{cohort}/{channel}/patch"


def cloud_status(fleet: str) -> str:
    """Topic of the service's own retained status."""
    return f"{ROOT}/{fleet}/cloud/status"


def cloud_reply(fleet: str, name: str) -> str:
    """Topic that a device may be asked to reply on; `name` is who asks."""
    return f"{ROOT}/{fleet}/cloud/reply/{name}"


def is_reply_topic(topic: str, fleet: str) -> bool:
    """True for a topic that a device of this fleet may send a reply to, and nothing else is sent to."""
    parts = topic.split("/")
    return len(parts) == 6 and topic == cloud_reply(fleet, parts[5]) and is_name(parts[5])


def split(topic: str) -> DeviceTopic | PatchTopic | CloudTopic:
    """Take a topic apart; raises WireError when it is not one of ours."""
    parts = topic.split("/")
    if parts[:2] != ROOT.split("/") or len(parts) not in (5, 6, 7) or not all(map(_NAME.fullmatch, parts)):
        raise WireError(f"not an edgeadapt topic: {topic[:128]!r}")
    if len(parts) == 7:
        if parts[3] == "cohort" and parts[5] in ("stable", "canary") and parts[6] == "patch":
            return PatchTopic(parts[2], parts[4], parts[5])
    elif parts[3:] == ["cloud", "status"]:
        return CloudTopic(parts[2], "")
    elif len(parts) == 6 and parts[3:5] == ["cloud", "reply"]:
        return CloudTopic(parts[2], parts[5])
    elif len(parts) == 5:
        pass
    elif (parts[4] == "up" and parts[5] in UP_KINDS) or (parts[4] == "down" and parts[5] in DOWN_KINDS):
        return DeviceTopic(parts[2], parts[3], parts[4], parts[5])
    raise WireError(f"not an edgeadapt topic: {topic[:128]!r}")
