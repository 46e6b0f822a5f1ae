"""A device in two hundred lines: what the protocol asks at least, and six ways to get it wrong.

It has no model; signatures are what its outbox holds. A plain MQTT client, as one in another language is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgeadapt.bundle import Bundle
from edgeadapt.digest import sha256_hex
from edgeadapt.errors import TrustError, WireError
from edgeadapt.patch import TrustedKeys, check_fit, check_fresh, open_envelope
from edgeadapt.wire import (
    Ack,
    Assign,
    Command,
    Metric,
    Outcome,
    Reply,
    ServerStatus,
    SignatureReport,
    Status,
    decode,
    encode,
    highest_common,
    topics,
)

FLEET, NAME = "test", "small"
RESEND_S = 0.3
_properties: Callable[[int], Properties] = Properties


class SmallDevice:
    """Runs until closed. The flags are what it gets wrong."""

    def __init__(
        self,
        port: int,
        bundle: Bundle,
        trusted: TrustedKeys,
        *,
        reuses_sequences: bool = False,
        ignores_acks: bool = False,
        believes_anyone: bool = False,
        stays_patched: bool = False,
        forgets_rollbacks: bool = False,
        takes_old: bool = False,
    ) -> None:
        self._bundle, self._trusted = bundle, trusted
        self._reuses, self._ignores, self._believes = reuses_sequences, ignores_acks, believes_anyone
        self._stays, self._forgets, self._takes_old = stays_patched, forgets_rollbacks, takes_old
        self._blocked, self._runs = set[bytes](), ("", b"")
        self._rows: dict[int, tuple[str, bytes]] = {}
        self._sequence, self._reports, self._obeyed = 0, 0, set[str]()
        self._serials: dict[str, int] = {}
        self._heard: set[str] = set()
        self._speaks_with_cloud = True
        self._lock, self._stop = threading.RLock(), threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=NAME, protocol=paho.MQTTv5)
        self._client.reconnect_delay_set(1, 1)
        self._client.will_set(self._up("status"), self._status(online=False), qos=1, retain=True)
        self._client.on_connect, self._client.on_message = self._on_connect, self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._resend, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave."""
        self._stop.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def _up(self, kind: str) -> str:
        return topics.up(FLEET, NAME, kind)

    def _status(self, *, online: bool) -> bytes:
        return encode(Status(epoch=1, online=online, bundle=self._bundle.digest))

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        client.subscribe([(topics.cloud_status(FLEET), 1), (topics.down(FLEET, NAME, "+"), 1)])
        client.publish(self._up("status"), self._status(online=True), qos=1, retain=True)

    def _resend(self) -> None:
        while not self._stop.wait(RESEND_S):
            with self._lock:
                for kind, payload in self._rows.values() if self._speaks_with_cloud else ():
                    self._client.publish(self._up(kind), payload, qos=1)
                if self._speaks_with_cloud:
                    self._client.publish(self._up("metric"), self._metric())

    def _metric(self) -> bytes:
        return encode(Metric(
            epoch=1, frames=0, flagged=0, uploaded=0, bytes_up=0, bytes_down=0, budget_left_bytes=0,
            latency_ms=0.0, generation=self._runs[0],
        ))  # fmt: skip

    def _on_message(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        payload = bytes(message.payload)
        with self._lock:
            try:
                where = topics.split(message.topic)
                if isinstance(where, topics.PatchTopic):
                    self._patch(where.cohort, payload)
                elif payload:
                    self._obey(decode(payload), message.properties)
            except WireError:
                pass  # garbage

    def _obey(self, message: object, properties: Any) -> None:
        if isinstance(message, ServerStatus):
            self._speaks_with_cloud = highest_common((1, 1), message.speaks) is not None
        elif isinstance(message, Ack) and message.outbox == "o" and not self._ignores:
            for sequence in message.sequences:
                self._rows.pop(sequence, None)
        elif isinstance(message, Assign):
            self._client.subscribe(topics.patch(FLEET, message.cohort, "stable"), qos=1)
        elif isinstance(message, Command) and self._speaks_with_cloud:
            self._answer(message, properties)

    def _answer(self, command: Command, properties: Any) -> None:
        again = command.id in self._obeyed
        if not again and command.id:
            self._obeyed.add(command.id)
            if command.action == "report":
                self._report()
            else:
                self._roll_back()
        asked = getattr(properties, "ResponseTopic", "")
        made = _properties(PacketTypes.PUBLISH)
        if correlation := getattr(properties, "CorrelationData", b""):
            made.CorrelationData = correlation
        reason = "obeyed-before" if again else "obeyed" if command.id else "refused"
        reply = Reply(id=command.id, done=bool(command.id), reason=reason)  # type: ignore[arg-type]
        topic = asked if topics.is_reply_topic(asked, FLEET) else self._up("reply")
        self._client.publish(topic, encode(reply), qos=1, properties=made)

    def _roll_back(self) -> None:
        if not self._forgets:
            self._blocked.add(self._runs[1])
        if not self._stays:
            self._runs = ("", b"")

    def _report(self) -> None:
        # What differs from one report to the next.
        self._reports += 1
        report = SignatureReport(
            outbox="o", sequence=self._next(), bundle=self._bundle.digest, segment=0, frames=self._reports,
            vector=b"", mean=b"", var=b"", drift=0.0,
        )  # fmt: skip
        self._keep("signature", report.sequence, encode(report))

    def _next(self) -> int:
        self._sequence = 1 if self._reuses else self._sequence + 1
        return self._sequence

    def _keep(self, kind: str, sequence: int, payload: bytes) -> None:
        self._rows[sequence] = (kind, payload)
        if self._speaks_with_cloud:
            self._client.publish(self._up(kind), payload, qos=1)

    def _patch(self, cohort: str, payload: bytes) -> None:
        digest = sha256_hex(payload)
        if not payload or (digest in self._heard and not self._takes_old):
            return
        self._heard.add(digest)
        # What it believes in spite of its signature moves something, as far as it knows.
        serial, values = 0, b"forged"
        try:
            patch = open_envelope(payload, self._trusted)
            serial = patch.header.serial
            last = 0 if self._takes_old else self._serials.get(cohort, 0)
            values = b"".join(value.tobytes() for value in patch.values.values())
            check_fit(patch, self._bundle)
            check_fresh(patch, cohort=cohort, last_serial=last, wall_s=time.time())
        except TrustError as error:
            if not (self._believes and error.refusal.value == "bad-signature"):
                self._outcome(cohort, serial, digest, "refused", str(error))
                return
        self._serials[cohort] = serial
        if values and values in self._blocked:
            self._outcome(cohort, serial, digest, "reverted", "taken back here before")
            return
        if values:
            self._outcome(cohort, serial, digest, "trial", "")
        self._runs = (digest, values)
        self._outcome(cohort, serial, digest, "confirmed", "")

    def _outcome(self, cohort: str, serial: int, digest: str, state: Any, reason: str) -> None:
        outcome = Outcome(
            outbox="o", sequence=self._next(), cohort=cohort, serial=serial, patch=digest, state=state,
            reason=reason,
        )  # fmt: skip
        self._keep("outcome", outcome.sequence, encode(outcome))
