"""What a run that was killed has left at the broker: assignments and patches, retained.

Cohorts of the kit begin with `COHORT`, so nothing of a real cloud is taken away. The kit's own `cloud/status`
needs no sweeping: its will takes that away (an empty retained will).
"""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

import paho.mqtt.client as paho

from edgeadapt.errors import TransportError, WireError
from edgeadapt.wire import Assign, decode, topics
from edgeadapt_sim.conformance.access import CONNECT_S

COHORT = "conformance"
# Retained messages come with the answer to a subscription; this is for a slow link.
_LISTEN_S = 0.5


def find(client: paho.Client, fleet: str, device: str) -> tuple[str, ...]:
    """Topics on which an earlier run has left something; raises TransportError."""
    found: queue.SimpleQueue[str] = queue.SimpleQueue()
    answered = threading.Event()

    def note(client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        if message.retain and message.payload and _is_ours(message.topic, bytes(message.payload)):
            found.put(message.topic)

    places = [topics.down(fleet, device, "assign"), topics.patch(fleet, "+", "stable")]
    for place in places:
        client.message_callback_add(place, note)
    client.on_subscribe = lambda *_: answered.set()
    client.subscribe([(place, 1) for place in places])
    if not answered.wait(CONNECT_S):
        raise TransportError("the broker does not answer a subscription")
    time.sleep(_LISTEN_S)
    client.on_subscribe = None
    client.unsubscribe(places)
    for place in places:
        client.message_callback_remove(place)
    return tuple(sorted({found.get() for _ in range(found.qsize())}))


def _is_ours(topic: str, payload: bytes) -> bool:
    """True for a cohort of the kit's; whatever raised here would end the client's thread."""
    try:
        where = topics.split(topic)
        cohort = where.cohort if isinstance(where, topics.PatchTopic) else _assigned(payload)
    except WireError:
        return False
    return cohort.startswith(f"{COHORT}-")


def _assigned(payload: bytes) -> str:
    message = decode(payload)
    return message.cohort if isinstance(message, Assign) else ""
