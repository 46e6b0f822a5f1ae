"""Orders from an operator: obeyed once, answered every time.

Brokers deliver more than once, sessions outlive restarts, and whoever heard no answer asks again: an order
is known by its id, and its copies are told that it was obeyed before. The answer goes to the topic that the
order names, if that is one for answers within this fleet, else to the device's own `up/reply`: nobody can
make a device publish anywhere else. It may be lost; asking again is free.
"""

from __future__ import annotations

from collections import deque

from edgeadapt.wire import Command, MessageProperties, Reply, encode, topics
from edgeadapt.wire.properties import MAX_CORRELATION_BYTES
from edgeadapt_device.core.adapt.adaptation import Adaptation
from edgeadapt_device.core.downlink.told import REMEMBERED_COMMANDS
from edgeadapt_device.core.effects import Effect, Log, PublishNow, StoreMessage
from edgeadapt_device.core.events import Received

_MAX_COMMAND_ID = 128
# Whoever asked has given up by then.
_REPLY_EXPIRY_S = 3600


class Commands:
    """Carries out orders."""

    def __init__(self, fleet: str, device: str, adaptation: Adaptation, obeyed: tuple[str, ...]) -> None:
        """`obeyed` are the ids of the orders that an earlier process carried out."""
        self._fleet, self._device, self._adaptation = fleet, device, adaptation
        self._obeyed: deque[str] = deque(obeyed, maxlen=REMEMBERED_COMMANDS)

    @property
    def obeyed(self) -> tuple[str, ...]:
        """Ids of the last orders that were carried out, oldest first."""
        return tuple(self._obeyed)

    def receive(self, command: Command, event: Received, protocol: int | None) -> list[Effect]:
        """Carry out an order that has not been, and answer, in `protocol` (None: the answer is not sent)."""
        order = command.id[:_MAX_COMMAND_ID]
        if not order:
            answer = Reply(id="", done=False, reason="refused", detail="an order needs an id")
            effects: list[Effect] = []
        elif order in self._obeyed:
            answer, effects = Reply(id=order, done=True, reason="obeyed-before"), []
        else:
            self._obeyed.append(order)
            self._adaptation.patches.must_commit = True
            effects, detail = self._obey(command)
            answer = Reply(id=order, done=True, reason="obeyed", detail=detail)
        return effects if protocol is None else [*effects, self._answer(answer, event, protocol)]

    def _obey(self, command: Command) -> tuple[list[Effect], str]:
        if command.action == "report":
            return [StoreMessage(self._adaptation.report())], "a signature report is on its way"
        patch = self._adaptation.switching.running.digest
        done = f"rolled back from {patch[:12]} to the base" if patch else "the base was running already"
        return [
            *self._adaptation.patches.to_base("rolled back by command"),
            Log("rolled back to the base by command"),
        ], done

    def _answer(self, answer: Reply, event: Received, protocol: int) -> PublishNow:
        wanted = event.response_topic
        if not topics.is_reply_topic(wanted, self._fleet):
            wanted = topics.up(self._fleet, self._device, "reply")
        correlation = event.correlation if len(event.correlation) <= MAX_CORRELATION_BYTES else b""
        properties = MessageProperties(expiry_s=_REPLY_EXPIRY_S, correlation=correlation)
        return PublishNow(wanted, encode(answer, protocol), retain=False, qos=1, properties=properties)
