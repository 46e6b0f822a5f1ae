"""One MQTT 5 CONNECT and the answer to it, by hand, so that nothing is taken from the device's session.

A client library would go on to receive and acknowledge what waits in the session. Here one packet goes out,
one is read, and the connection ends in order; what the broker sent meanwhile stays unacknowledged, so it
comes again to the device. Numbers in brackets are sections of MQTT 5.0.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from edgeadapt.errors import WireError

_CONNECT, _CONNACK, _DISCONNECT = 0x10, 0x20, 0xE0
_USERNAME, _PASSWORD = 0x80, 0x40
_SESSION_EXPIRY, _RECEIVE_MAXIMUM, _MAXIMUM_PACKET_SIZE, _REASON_STRING = 0x11, 0x21, 0x27, 0x1F
# Bytes of a property's value (2.2.2.2), for those that a CONNACK may have; strings carry their length.
_FIXED = {0x11: 4, 0x13: 2, 0x21: 2, 0x22: 2, 0x24: 1, 0x25: 1, 0x27: 4, 0x28: 1, 0x29: 1, 0x2A: 1}
_STRINGS = {0x12: 1, 0x15: 1, 0x16: 1, 0x1A: 1, 0x1C: 1, 0x1F: 1, 0x26: 2}
_MAX_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Connack:
    """The broker's answer.

    Attributes:
        code: 0 for success, else a reason code (3.2.2.2).
        session: the broker has kept the device's session.
        max_packet_bytes: the largest packet it takes; 0 for no limit said.
        reason: its own words, "" for none.
    """

    code: int
    session: bool
    max_packet_bytes: int = 0
    reason: str = ""


def shake(
    link: socket.socket,
    client_id: str,
    *,
    keepalive_s: int,
    session_expiry_s: int,
    username: str = "",
    password: str | None = None,
) -> Connack:
    """Connect and disconnect over `link`, which has a timeout and is closed by the caller.

    Raises:
        OSError: the connection breaks, or nothing comes in time.
        WireError: the answer is no CONNACK of MQTT 5.
    """
    link.sendall(_connect(client_id, keepalive_s, session_expiry_s, username, password))
    kind = _exactly(link, 1)[0]
    if kind != _CONNACK:
        raise WireError(f"the answer begins with {kind:#04x}, not with a CONNACK")
    answer = _connack(_body(link))
    if answer.code == 0:
        link.sendall(bytes((_DISCONNECT, 0)))
    return answer


def _connect(
    client_id: str, keepalive_s: int, session_expiry_s: int, username: str, password: str | None
) -> bytes:
    """A CONNECT that goes on with the session there is (3.1)."""
    flags = (_USERNAME if username else 0) | (_PASSWORD if password is not None else 0)
    # At most one waiting message is sent to us, and none that is not acknowledged is lost.
    properties = bytes((_SESSION_EXPIRY,)) + session_expiry_s.to_bytes(4, "big")
    properties += bytes((_RECEIVE_MAXIMUM,)) + (1).to_bytes(2, "big")
    body = b"\x00\x04MQTT\x05" + bytes((flags,)) + keepalive_s.to_bytes(2, "big")
    body += _length(len(properties)) + properties + _string(client_id)
    body += _string(username) if username else b""
    body += _string(password) if password is not None else b""
    return bytes((_CONNECT,)) + _length(len(body)) + body


def _connack(body: bytes) -> Connack:
    if len(body) == 2:
        raise WireError(f"the broker speaks MQTT 3 only (it answered with code {body[1]})")
    try:
        session, code = bool(body[0] & 1), body[1]
        size, at = _read_length(body, 2)
        if len(body) != at + size:
            raise WireError(f"the CONNACK says {size} bytes of properties, and has {len(body) - at}")
        values = _properties(body[at:])
    except IndexError as error:
        raise WireError("the CONNACK is cut off") from error
    limit = int.from_bytes(values.get(_MAXIMUM_PACKET_SIZE, b""), "big")
    return Connack(code, session, limit, values.get(_REASON_STRING, b"").decode("utf-8", "replace"))


def _properties(data: bytes) -> dict[int, bytes]:
    """Identifier to value; raises WireError on one that a CONNACK cannot have."""
    values: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        key, at = data[at], at + 1
        if key in _FIXED:
            values[key], at = data[at : at + _FIXED[key]], at + _FIXED[key]
            continue
        if key not in _STRINGS:
            raise WireError(f"the CONNACK has an unknown property {key:#x}")
        for _ in range(_STRINGS[key]):
            size = int.from_bytes(data[at : at + 2], "big")
            values[key], at = data[at + 2 : at + 2 + size], at + 2 + size
    if at > len(data):
        raise WireError("the CONNACK's last property is cut off")
    return values


def _body(link: socket.socket) -> bytes:
    size = shift = 0
    while True:
        (byte,) = _exactly(link, 1)
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
        if shift > 21:
            raise WireError("the answer is not MQTT")
    if size > _MAX_BYTES:
        raise WireError(f"the answer is {size} bytes long: not MQTT")
    return _exactly(link, size)


def _exactly(link: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = link.recv(size - len(data))
        if not piece:
            raise ConnectionError("the broker hung up without an answer")
        data += piece
    return data


def _string(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data


def _length(value: int) -> bytes:
    """A variable byte integer (1.5.5)."""
    data = b""
    while True:
        value, low = divmod(value, 128)
        data += bytes((low | 0x80 if value else low,))
        if not value:
            return data


def _read_length(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at
