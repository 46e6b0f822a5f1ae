"""Can the broker be reached, is it the right one, and does it take this device?"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edgeadapt.bundle import read_folder
from edgeadapt.errors import BundleError, ConfigError, TransportError, WireError
from edgeadapt_device.config import DeviceConfig, MqttSection
from edgeadapt_device.doctor.finding import Finding, failed, ok, warning
from edgeadapt_device.doctor.handshake import Connack, shake
from edgeadapt_device.io.link.mqtt import password, tls_context
from edgeadapt_device.service.seen import see

_PATIENCE_S = 5.0
_SEARCH_S = 5.0
# Reports and patches; samples are measured by the model's input.
_SMALL_BYTES = 64 << 10
_EXTRA_BYTES = 1024
# Reason codes of a CONNACK (MQTT 5.0, 3.2.2.2) that a person can do something about.
_REASONS = {
    0x84: ("it does not speak MQTT 5", "use a broker that does, such as Mosquitto 2"),
    0x85: ("it does not take this client id", "set device.name to one that the broker allows"),
    0x86: ("user name or password are wrong", "set mqtt.username and mqtt.password_file"),
    0x87: ("this device is not allowed to connect", "allow its name at the broker, or give it a certificate"),
    0x88: ("it is not available", "look at the broker's log"),
    0x89: ("it is busy", "wait, or give the broker more room"),
    0x8A: ("this device is banned", "look at the broker's access list"),
    0x8C: ("it wants another way to authenticate", "let it take passwords or certificates"),
    0x97: ("a quota is exceeded", "raise the broker's limit on connections"),
    0x9F: ("connections come too fast", "raise the broker's limit on connections"),
}


def look(config: DeviceConfig, *, runs: bool) -> Iterator[Finding]:
    """Name, TCP, TLS and CONNACK; a running device that is connected is not thrown out."""
    if not config.mqtt.enabled:
        yield ok("broker", "none is wanted (mqtt.enabled = false): the device adapts by itself")
        return
    if runs and (where := _connected(config)):
        yield ok("broker", f"the device that runs is connected to {where}: not tried again")
        return
    targets: list[MqttSection] = []
    if config.mqtt.host:
        targets.append(config.mqtt)
    else:
        yield from _search(config, targets)
    for target in targets:
        yield from _try(config, target)


def _connected(config: DeviceConfig) -> str:
    """Where the device that runs is connected, "" when it is not, or does not say."""
    try:
        status = see(Path(config.device.state_dir), config.http).status
    except ConfigError:
        return ""
    return status.broker if status.connected else ""


def _search(config: DeviceConfig, targets: list[MqttSection]) -> Iterator[Finding]:
    from edgeadapt_device.io.link.discovery import search

    fleet, mqtt = config.device.fleet, config.mqtt
    fix = "announce it with `edgeadapt cloud serve --announce`, or set mqtt.host"
    try:
        found = search(
            fleet,
            secure=bool(mqtt.tls_ca),
            interfaces=mqtt.interfaces,
            patience_s=_SEARCH_S,
            stop=threading.Event(),
        )
    except TransportError as error:
        yield failed("discovery", str(error), "connect the device to a network, or set mqtt.host")
        return
    others = ", ".join(f"{each.name} of fleet {each.fleet or 'none'}" for each in found.others)
    if not found.own:
        there = f"; there is {others}" if others else ""
        yield failed("discovery", f"no broker of fleet {fleet!r} is announced{there}", fix)
    for broker in found.own:
        where = ", ".join(broker.addresses)
        yield ok("discovery", f"{broker.name} announces fleet {fleet} at {where}, port {broker.port}")
        targets += [
            msgspec.structs.replace(mqtt, host=address, port=broker.port) for address in broker.addresses
        ]


def _try(config: DeviceConfig, mqtt: MqttSection) -> Iterator[Finding]:
    where = f"{mqtt.host}:{mqtt.port}"
    try:
        started_s = time.perf_counter()
        plain = socket.create_connection((mqtt.host, mqtt.port), timeout=_PATIENCE_S)
        taken_ms = 1000.0 * (time.perf_counter() - started_s)
    except socket.gaierror as error:
        yield failed(
            "broker", f"the name {mqtt.host} is not known: {error.strerror}", "correct mqtt.host, or DNS"
        )
        return
    except OSError as error:
        fix = "start the broker there, open its port, or correct mqtt.host and mqtt.port"
        yield failed("broker", f"{where} cannot be reached: {error.strerror or error}", fix)
        return
    with plain:
        yield ok("broker", f"{where} answers in {taken_ms:.0f} ms")
        yield from _speak(config, mqtt, plain)


def _speak(config: DeviceConfig, mqtt: MqttSection, plain: socket.socket) -> Iterator[Finding]:
    try:
        context = tls_context(mqtt)
        secret = password(mqtt)
    except ConfigError as error:
        yield failed("broker", str(error), "see `certificates` above")
        return
    link: socket.socket = plain
    try:
        if context is not None:
            secured = context.wrap_socket(plain, server_hostname=mqtt.host)
            yield ok("tls", f"{secured.version()}, and the certificate is for {mqtt.tls_name or mqtt.host}")
            link = secured
        answer = shake(
            link,
            config.device.name,
            keepalive_s=mqtt.keepalive_s,
            session_expiry_s=mqtt.session_expiry_s,
            username=mqtt.username,
            password=secret,
        )
    except ssl.SSLCertVerificationError as error:
        fix = "set mqtt.tls_ca to the broker's CA, mqtt.host or mqtt.tls_name to its name, and the clock"
        yield failed("tls", f"the broker's certificate is not believed: {error.verify_message}", fix)
    except ssl.SSLError as error:
        fix = "is this the TLS port (8883)? Does the broker know the CA of mqtt.tls_cert?"
        yield failed("tls", f"the handshake failed: {error.reason or error}", fix)
    except OSError as error:
        fix = "with TLS at the broker set mqtt.tls_ca; else look at the broker's log"
        yield failed("mqtt", f"no answer to CONNECT: {error.strerror or error}", fix)
    except WireError as error:
        yield failed("mqtt", str(error), "let mqtt.port be the port of an MQTT 5 broker")
    else:
        yield from _answer(config, answer)
    finally:
        link.close()


def _answer(config: DeviceConfig, answer: Connack) -> Iterator[Finding]:
    if answer.code:
        words, fix = _REASONS.get(answer.code, ("it refuses", "look at the broker's log"))
        said = f": {answer.reason}" if answer.reason else ""
        yield failed("mqtt", f"the broker says {answer.code:#04x}, {words}{said}", fix)
        return
    kept = "it has kept the device's session" if answer.session else "it has no session of this device yet"
    limit = answer.max_packet_bytes
    size = f"packets up to {limit} bytes" if limit else "packets of any size"
    yield ok("mqtt", f"the broker takes {config.device.name} and {size}; {kept}")
    needed = _largest(config)
    if limit and needed > limit:
        fix = f"raise the broker's limit to {needed} (Mosquitto: max_packet_size), or use smaller frames"
        yield warning("mqtt", f"a sample may take {needed} bytes, and will not be sent", fix)


def _largest(config: DeviceConfig) -> int:
    """Bytes that a packet of this device may have: a frame that does not compress."""
    try:
        spec = read_folder(Path(config.device.bundle)).manifest.input
    except BundleError:
        return _SMALL_BYTES
    frame = spec.channels * spec.height * spec.width * (1 if spec.kind == "image" else 4)
    return max(frame + _EXTRA_BYTES, _SMALL_BYTES)
