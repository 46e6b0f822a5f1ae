"""Where every message travels, and how: one row for each topic.

The documents are made of this table, and tests hold that it names every topic and every message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeadapt.wire.messages import (
    Ack,
    AnyMessage,
    Assign,
    Command,
    Descriptors,
    Metric,
    Outcome,
    Reply,
    Sample,
    ServerStatus,
    SignatureReport,
    Status,
    Want,
)
from edgeadapt.wire.topics import ROOT


@dataclass(frozen=True, slots=True)
class ChannelInfo:
    """One topic.

    Attributes:
        name: in documents.
        address: with its parameters in braces.
        direction: "up": a device sends, "down": a device receives.
        message: its struct; None for a signed patch.
        qos: MQTT quality of service.
        retain: the broker keeps the last one for those who come later.
        expires: the sender lets the broker forget it after a time (device.toml, cloud.toml).
        summary: in one sentence.
    """

    name: str
    address: str
    direction: Literal["up", "down"]
    message: type[AnyMessage] | None
    qos: Literal[0, 1]
    retain: bool
    expires: bool
    summary: str


_DEVICE = f"{ROOT}/{{fleet}}/{{device}}"

CHANNELS: tuple[ChannelInfo, ...] = (
    ChannelInfo(
        "status", f"{_DEVICE}/up/status", "up", Status, 1, True, False,
        "A device session is born; as its will, it died. The will waits a few seconds.",
    ),
    ChannelInfo(
        "sample", f"{_DEVICE}/up/sample", "up", Sample, 1, False, True,
        "A frame worth a teacher's time. Sent again until it is acknowledged.",
    ),
    ChannelInfo(
        "descriptor", f"{_DEVICE}/up/descriptor", "up", Descriptors, 1, False, True,
        "Samples that the device could send. Sent again until it is acknowledged.",
    ),
    ChannelInfo(
        "signature", f"{_DEVICE}/up/signature", "up", SignatureReport, 1, False, False,
        "Where the device is. Sent again until it is acknowledged.",
    ),
    ChannelInfo(
        "metric", f"{_DEVICE}/up/metric", "up", Metric, 0, False, False, "Counters; may be lost.",
    ),
    ChannelInfo(
        "outcome", f"{_DEVICE}/up/outcome", "up", Outcome, 1, False, False,
        "What became of a patch. Sent again until it is acknowledged.",
    ),
    ChannelInfo(
        "reply", f"{_DEVICE}/up/reply", "up", Reply, 1, False, True,
        "Answer to a command that names no topic for it, or one that is not allowed.",
    ),
    ChannelInfo(
        "cloudReply", f"{ROOT}/{{fleet}}/cloud/reply/{{asker}}", "up", Reply, 1, False, True,
        "Answer to a command, where the command asks for it.",
    ),
    ChannelInfo(
        "ack", f"{_DEVICE}/down/ack", "down", Ack, 1, False, False,
        "What the cloud has committed: the device may forget it.",
    ),
    ChannelInfo(
        "assign", f"{_DEVICE}/down/assign", "down", Assign, 1, True, False,
        "The cohort of a segment, and the budget.",
    ),
    ChannelInfo(
        "command", f"{_DEVICE}/down/command", "down", Command, 1, False, True,
        "An order, with a response topic and correlation data. Obeyed once, answered every time.",
    ),
    ChannelInfo(
        "want", f"{_DEVICE}/down/want", "down", Want, 1, False, True,
        "Which of the samples that a device described it is to send.",
    ),
    ChannelInfo(
        "cloudStatus", f"{ROOT}/{{fleet}}/cloud/status", "down", ServerStatus, 1, True, False,
        "The cloud is there; as its will, it is not.",
    ),
    ChannelInfo(
        "patch", f"{ROOT}/{{fleet}}/cohort/{{cohort}}/{{channel}}/patch", "down", None, 1, True, False,
        "A signed patch. An empty payload clears the topic.",
    ),
)  # fmt: skip
