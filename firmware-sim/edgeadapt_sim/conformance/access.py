"""How the kit gets at the broker: address, account, TLS, and a client that is connected."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edgeadapt.errors import ConfigError, TransportError

#: Patience for the broker, in seconds.
CONNECT_S = 15.0


@dataclass(frozen=True, slots=True)
class Access:
    """How to get at the broker. Empty strings: not needed; without `tls_ca` there is no TLS.

    The broker's certificate must be signed by `tls_ca` and name `host`.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    username: str = ""
    password: str = ""
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""

    def __post_init__(self) -> None:
        if (self.tls_cert or self.tls_key) and not self.tls_ca:
            raise ConfigError(
                "a certificate needs the authority beside it (--tls-ca): without, there is no TLS"
            )
        if self.tls_key and not self.tls_cert:
            raise ConfigError("a private key needs its certificate beside it (--tls-cert)")

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.host}:{self.port}{' (TLS)' if self.tls_ca else ''}"

    def client(self, client_id: str) -> paho.Client:
        """A client that knows who it is; raises ConfigError when a file cannot be used."""
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5)
        try:
            if self.username:
                client.username_pw_set(self.username, self.password or None)
            if self.tls_ca:
                client.tls_set(self.tls_ca, self.tls_cert or None, self.tls_key or None)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise ConfigError(f"a TLS file cannot be used: {error}") from error
        return client

    def connect(self, client: paho.Client) -> None:
        """Connect and start the client's thread; raises TransportError."""
        try:
            client.connect(self.host, self.port, keepalive=30)
        except ssl.SSLError as error:
            raise TransportError(f"the broker at {self.where}: TLS failed: {error}") from error
        except (OSError, ValueError) as error:
            raise TransportError(f"no broker at {self.where}: {error}") from error
        client.loop_start()
        deadline_s = time.monotonic() + CONNECT_S
        while not client.is_connected():
            if time.monotonic() > deadline_s:
                client.loop_stop()
                raise TransportError(f"the broker at {self.where} does not let us in")
            time.sleep(0.01)
