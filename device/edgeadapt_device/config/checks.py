"""What a configuration must be beyond its types: values that go together, and names that can be used.

The range of each number is in `limits`.
"""

from __future__ import annotations

import ipaddress

from edgeadapt.errors import ConfigError
from edgeadapt.wire.topics import check_name
from edgeadapt_device.config.limits import check_numbers
from edgeadapt_device.config.sections import DeviceConfig, HttpSection, MqttSection, TrustSection


def check(config: DeviceConfig) -> DeviceConfig:
    """Return `config`; raises ConfigError that names the first key with an impossible value."""
    check_name(config.device.name, "device.name")
    check_name(config.device.fleet, "device.fleet")
    check_numbers(config)
    if config.flagging.entropy_low > config.flagging.entropy_high:
        raise ConfigError("flagging.entropy_low: expected no more than flagging.entropy_high")
    _check_uplink(config)
    if bool(config.source.width) != bool(config.source.height):
        raise ConfigError("source.width and source.height: expected both, or neither")
    if config.mqtt.enabled:
        _check_mqtt(config.mqtt)
    _check_http(config.http)
    trusted_key_bytes(config.trust)
    return config


def _check_uplink(config: DeviceConfig) -> None:
    flagging = config.flagging
    if flagging.enabled and flagging.adapt_share + flagging.ask_share + flagging.audit_share <= 0.0:
        raise ConfigError("flagging.adapt_share, ask_share, audit_share: expected one above 0")
    for number, (left, top, right, bottom) in enumerate(config.privacy.blurred):
        if not (0.0 <= left < right <= 1.0 and 0.0 <= top < bottom <= 1.0):
            raise ConfigError(
                f"privacy.blurred[{number}]: expected [left, top, right, bottom] as shares from 0 to 1, left "
                f"less than right and top less than bottom, got {[left, top, right, bottom]}"
            )


def _check_http(http: HttpSection) -> None:
    try:
        address = ipaddress.ip_address(http.host)
    except ValueError as error:
        raise ConfigError(f"http.host: expected a numeric address such as 127.0.0.1: {error}") from error
    if http.enabled and not (address.is_loopback or http.public):
        raise ConfigError(
            f"http.host: {http.host} can be reached by others, and nobody is asked who he is: "
            "use 127.0.0.1, or set http.public = true"
        )


def _check_mqtt(mqtt: MqttSection) -> None:
    """What the client would ignore, or would notice only in its own thread, is a mistake here."""
    if mqtt.host:
        _check_host(mqtt)
    elif mqtt.tls_ca and not mqtt.tls_name:
        raise ConfigError(
            "mqtt.tls_name: expected the name in the broker's certificate when mqtt.host is empty: "
            "anyone may announce a broker"
        )
    if mqtt.tls_name and not mqtt.tls_ca:
        raise ConfigError("mqtt.tls_name: expected mqtt.tls_ca beside it: without one there is no TLS")
    if mqtt.password_file and not mqtt.username:
        raise ConfigError("mqtt.password_file: expected mqtt.username beside it")
    if mqtt.tls_cert and not mqtt.tls_ca:
        raise ConfigError("mqtt.tls_cert: expected mqtt.tls_ca beside it: without one there is no TLS")
    if mqtt.tls_key and not mqtt.tls_cert:
        raise ConfigError("mqtt.tls_key: expected mqtt.tls_cert beside it")
    _check_interfaces(mqtt.interfaces)


def _check_interfaces(interfaces: tuple[str, ...]) -> None:
    for number, address in enumerate(interfaces):
        try:
            ipaddress.ip_address(address)
        except ValueError as error:
            raise ConfigError(
                f"mqtt.interfaces[{number}]: expected the address of an interface: {error}"
            ) from error


def _check_host(mqtt: MqttSection) -> None:
    try:
        name = mqtt.host.encode("idna")
    except UnicodeError as error:
        raise ConfigError(
            f"mqtt.host: expected a host name or address, got {mqtt.host!r}: {error}"
        ) from error
    if not name or not name.decode("ascii").isprintable() or b" " in name:
        raise ConfigError(f"mqtt.host: expected a host name or address, got {mqtt.host!r}")


def trusted_key_bytes(trust: TrustSection) -> list[bytes]:
    """The pinned keys as raw bytes; raises ConfigError on one that is not 64 hex digits."""
    keys = []
    for number, text in enumerate(trust.keys):
        try:
            raw = bytes.fromhex(text)
        except ValueError as error:
            raise ConfigError(f"trust.keys[{number}]: expected 64 hex digits: {error}") from error
        if len(raw) != 32:
            raise ConfigError(f"trust.keys[{number}]: expected 64 hex digits, got {len(text)} characters")
        keys.append(raw)
    return keys
