"""A link to a broker that is found, not configured: look for one, try all its addresses, look again.

    LOOKING --found--> TRYING --connected--> CONNECTED --lost for a while--> LOOKING
                         '--no address answers--> LOOKING

A thread of its own does that; each attempt is an `MqttLink` like any other. A broker that is lost may have
moved, so after a short while without it the network is searched again. Until there is one the device stays
offline, and the link says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Protocol

import msgspec

from edgeadapt.errors import EdgeAdaptError
from edgeadapt.wire import NO_PROPERTIES, MessageProperties
from edgeadapt_device.config import MqttSection
from edgeadapt_device.core.events import Connected, Disconnected
from edgeadapt_device.io.link import discovery
from edgeadapt_device.io.link.discovery import Announced, Search
from edgeadapt_device.io.link.mqtt import Inbox, LinkEvent, MqttLink, password, tls_context

# An address that has neither refused nor taken the connection by then is given up.
_CONNECT_S = 10.0
# A broker that was there may be restarting; longer than this, and it is looked for anew.
_LOST_S = 15.0
_FIRST_PAUSE_S = 2.0
_STEP_S = 0.1


class Searching(Protocol):
    """`discovery.search`, or one that a test knows the answer of."""

    def __call__(
        self, fleet: str, *, secure: bool, interfaces: tuple[str, ...], stop: threading.Event
    ) -> Search: ...


class FoundLink(threading.Thread):
    """The link. `publish`, `subscribe` and `unsubscribe` may be called from one other thread."""

    def __init__(
        self,
        config: MqttSection,
        *,
        fleet: str,
        device: str,
        will_topic: str,
        will_payload: bytes,
        inbox: Inbox,
        report: Callable[[str], None],
        search: Searching = discovery.search,
    ) -> None:
        """Start looking. The arguments are those of `MqttLink`, but `config.host` is empty.

        Raises:
            ConfigError: a password or TLS file cannot be used.
        """
        super().__init__(name="found-link", daemon=True)
        tls_context(config)
        password(config)
        # A package that is missing is told by the command, not by a thread that dies of it.
        import_module("zeroconf")
        self._config, self._fleet, self._search = config, fleet, search
        self._inbox, self._report = inbox, report
        self._make: Callable[[MqttSection], MqttLink] = lambda where: MqttLink(
            where,
            fleet=fleet,
            device=device,
            will_topic=will_topic,
            will_payload=will_payload,
            inbox=self._heard,
            report=report,
        )
        self._link: MqttLink | None = None
        self._sent_before = 0
        self._looking = ""
        self._final: tuple[str, bytes] | None = None
        self._ended = threading.Event()
        self._connected, self._made = threading.Event(), threading.Event()
        self.start()

    @property
    def sent_bytes(self) -> int:
        """Topics and payloads that went out, to whichever broker."""
        link = self._link
        return self._sent_before + (link.sent_bytes if link is not None else 0)

    @property
    def where(self) -> str:
        """The broker that is tried or connected; "" while there is none."""
        link = self._link
        return link.where if link is not None else ""

    @property
    def trouble(self) -> str:
        """Why there is no connection."""
        link = self._link
        return link.trouble if link is not None else self._looking

    def publish(
        self,
        topic: str,
        payload: bytes,
        qos: int,
        retain: bool,
        properties: MessageProperties = NO_PROPERTIES,
    ) -> None:
        """As `MqttLink`; without a broker the message is lost."""
        link = self._link
        if link is not None:
            link.publish(topic, payload, qos, retain, properties)

    def subscribe(self, topic: str) -> None:
        """As `MqttLink`."""
        link = self._link
        if link is not None:
            link.subscribe(topic)

    def unsubscribe(self, topic: str) -> None:
        """As `MqttLink`."""
        link = self._link
        if link is not None:
            link.unsubscribe(topic)

    def close(self, final: tuple[str, bytes] | None = None) -> None:
        """Say goodbye with a retained (topic, payload), disconnect, and look no more."""
        self._final = final
        self._ended.set()
        self.join()

    def run(self) -> None:
        """Look, try, and stay with what answers, until closed."""
        pause_s = _FIRST_PAUSE_S
        while not self._ended.is_set():
            if self._found_one():
                pause_s = _FIRST_PAUSE_S
                continue
            self._ended.wait(pause_s)
            pause_s = min(2.0 * pause_s, self._config.reconnect_max_s)

    def _found_one(self) -> bool:
        """One round; whatever goes wrong in it, there is another."""
        try:
            return any(map(self._stay_with, self._targets()))
        except EdgeAdaptError as error:
            self._say(str(error))
        except Exception as error:
            # The library's own threads and sockets fail in ways that it does not promise.
            self._say(f"looking for a broker failed: {type(error).__name__}: {error}")
        return False

    def _targets(self) -> Iterator[MqttSection]:
        """Every address of every broker that a search brings, as a configuration."""
        found = self._search(
            self._fleet,
            secure=bool(self._config.tls_ca),
            interfaces=self._config.interfaces,
            stop=self._ended,
        )
        if not found.own:
            self._say(_nothing(self._fleet, found.others))
        for broker in found.own:
            for address in broker.addresses:
                if self._ended.is_set():
                    return
                yield msgspec.structs.replace(self._config, host=address, port=broker.port)

    def _stay_with(self, where: MqttSection) -> bool:
        """Connect, and stay until it is lost for good; False when there never was a connection."""
        self._connected.clear()
        self._made.clear()
        link = self._link = self._make(where)
        self._made.set()
        try:
            if not self._connects(link):
                self._looking = link.trouble or f"broker {link.where}: it does not answer"
                return False
            lost_s = 0.0
            while lost_s < _LOST_S and not self._ended.wait(_STEP_S):
                lost_s = 0.0 if self._connected.is_set() else lost_s + _STEP_S
            self._looking = link.trouble
            return True
        finally:
            self._sent_before += link.sent_bytes
            self._link = None
            link.close(self._final)

    def _connects(self, link: MqttLink) -> bool:
        waited_s = 0.0
        while waited_s < _CONNECT_S and not link.trouble and not self._ended.is_set():
            if self._connected.wait(_STEP_S):
                return True
            waited_s += _STEP_S
        return self._connected.is_set()

    def _heard(self, event: LinkEvent) -> None:
        # A broker nearby may answer before the link is there for whoever hears of it, and would subscribe.
        self._made.wait(_CONNECT_S)
        if isinstance(event, Connected):
            self._connected.set()
        elif isinstance(event, Disconnected):
            self._connected.clear()
        self._inbox(event)

    def _say(self, text: str) -> None:
        if text != self._looking:
            self._looking = text
            self._report(text)


def _nothing(fleet: str, others: tuple[Announced, ...]) -> str:
    there = ", ".join(sorted({f"{each.name} ({each.fleet or 'no fleet'})" for each in others}))
    instead = f"; there is only {there}" if there else ""
    return (
        f"no broker of fleet {fleet!r} is announced on this network{instead}: set mqtt.host, or wait for one"
    )
