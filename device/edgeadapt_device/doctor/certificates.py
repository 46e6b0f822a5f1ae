"""Are the TLS files there, do they belong together, and how long are they good?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from edgeadapt_device.config import DeviceConfig, MqttSection
from edgeadapt_device.doctor.finding import Finding, failed, ok, warning

_SOON = timedelta(days=30)


def look(config: DeviceConfig) -> Iterator[Finding]:
    """CA, certificate and key, as far as they are configured."""
    mqtt = config.mqtt
    if not mqtt.enabled or not mqtt.tls_ca:
        yield ok("certificates", "no TLS is configured")
        return
    authorities, finding = _read("mqtt.tls_ca", mqtt.tls_ca)
    yield finding if finding is not None else _valid("mqtt.tls_ca", authorities)
    if not mqtt.tls_cert:
        yield ok("certificates", "no certificate of its own: the broker knows the device by its password")
        return
    chain, finding = _read("mqtt.tls_cert", mqtt.tls_cert)
    if finding is not None:
        yield finding
        return
    yield _valid("mqtt.tls_cert", chain[:1])
    yield _named(chain[0], config.device.name)
    yield _key(mqtt, chain[0])
    if authorities and not _issued(chain, authorities):
        yield warning(
            "certificates",
            f"{mqtt.tls_cert} was not issued by a CA in {mqtt.tls_ca}",
            "that is well if the broker trusts another CA for its clients; else have it issued anew",
        )


def _read(key: str, name: str) -> tuple[list[x509.Certificate], Finding | None]:
    try:
        return x509.load_pem_x509_certificates(Path(name).read_bytes()), None
    except OSError as error:
        fix = f"set {key} to the file, and let user and group of the device read it"
        return [], failed("certificates", f"{key}: {name} cannot be read: {error.strerror}", fix)
    except ValueError as error:
        return [], failed(
            "certificates", f"{key}: {name} holds no PEM certificate: {error}", "convert it to PEM"
        )


def _valid(key: str, certificates: list[x509.Certificate]) -> Finding:
    now = datetime.now(timezone.utc)
    until = min(each.not_valid_after_utc for each in certificates)
    since = max(each.not_valid_before_utc for each in certificates)
    if until < now:
        return failed("certificates", f"{key} has expired on {until:%Y-%m-%d}", "have it issued anew")
    if since > now:
        fix = "set the clock, or have it issued for today"
        return failed("certificates", f"{key} is not valid before {since:%Y-%m-%d %H:%M} UTC", fix)
    text = f"{key} is good until {until:%Y-%m-%d}"
    if until - now < _SOON:
        return warning(
            "certificates", f"{text}, for {(until - now).days} more days", "have it issued anew soon"
        )
    return ok("certificates", text)


def _named(certificate: x509.Certificate, device: str) -> Finding:
    names = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names == [device]:
        return ok("certificates", f"its common name is the device's, {device}")
    found = ", ".join(names) or "nobody"
    fix = "set device.name to the certificate's name, or have one issued for this device"
    return failed("certificates", f"mqtt.tls_cert is for {found}, but device.name is {device}", fix)


def _key(mqtt: MqttSection, certificate: x509.Certificate) -> Finding:
    name = mqtt.tls_key or mqtt.tls_cert
    try:
        key = load_pem_private_key(Path(name).read_bytes(), password=None)
    except OSError as error:
        fix = "set mqtt.tls_key, and let the device's user read it"
        return failed("certificates", f"{name} cannot be read: {error.strerror}", fix)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        fix = "give it as PEM without a pass phrase"
        return failed("certificates", f"{name} holds no private key that can be used: {error}", fix)
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        fix = "set mqtt.tls_key to the key that the certificate was asked for with"
        return failed("certificates", f"{name} is not the key of {mqtt.tls_cert}", fix)
    return ok("certificates", f"{name} is its key")


def _issued(chain: list[x509.Certificate], authorities: list[x509.Certificate]) -> bool:
    """True when the first certificate leads, over the others of its file, to an authority."""
    present, rest = chain[0], chain[1:]
    while not any(_by(present, authority) for authority in authorities):
        parent = next((each for each in rest if _by(present, each)), None)
        if parent is None:
            return False
        present, rest = parent, [each for each in rest if each != parent]
    return True


def _by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
