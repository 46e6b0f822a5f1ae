"""A small authority for tests: a CA, a device's certificate and a broker's, as PEM files."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Papers:
    """A folder with ca.pem, device.pem, device.key, broker.pem and broker.key."""

    folder: Path

    def server(self) -> ssl.SSLContext:
        """What a broker that wants certificates speaks."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "broker.pem", self.folder / "broker.key")
        context.load_verify_locations(self.folder / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def issue(
    folder: Path, *, device: str, broker: str, valid: tuple[datetime, datetime] | None = None
) -> Papers:
    """Write the files; `valid` is the device's certificate's time, 60 days around now by default."""
    folder.mkdir()
    now = datetime.now(timezone.utc)
    always = (now - timedelta(days=1), now + timedelta(days=60))
    authority = ec.generate_private_key(ec.SECP256R1())
    root = _certificate("test authority", "test authority", authority, authority, always, ca=True)
    (folder / "ca.pem").write_bytes(root.public_bytes(Encoding.PEM))
    for name, subject, times in (("device", device, valid or always), ("broker", broker, always)):
        key = ec.generate_private_key(ec.SECP256R1())
        made = _certificate(subject, "test authority", key, authority, times, ca=False)
        (folder / f"{name}.pem").write_bytes(made.public_bytes(Encoding.PEM))
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{name}.key").write_bytes(private)
        (folder / f"{name}.key").chmod(0o600)
    return Papers(folder)


def _certificate(
    subject: str, issuer: str, key: Key, signer: Key, times: tuple[datetime, datetime], *, ca: bool
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(times[0])
        .not_valid_after(times[1])
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(subject.replace(" ", "-"))]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
