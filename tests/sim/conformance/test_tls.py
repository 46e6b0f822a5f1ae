"""The kit over TLS, at a Mosquitto that lets nobody in without a certificate."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt_sim.broker import free_port
from edgeadapt_sim.cli.conformance import command
from edgeadapt_sim.conformance.access import Access
from edgeadapt_sim.processes import Child
from tests.cloud.fleet import TRUSTED
from tests.core.bundles import bundle as toy_bundle
from tests.device.certificates import Papers, issue
from tests.sim.conformance.small import FLEET, NAME, SmallDevice

pytestmark = pytest.mark.integration
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
_CONFIG = """\
listener {port} 127.0.0.1
cafile {folder}/ca.pem
certfile {folder}/broker.pem
keyfile {folder}/broker.key
require_certificate true
use_identity_as_username true
listener {plain} 127.0.0.1
allow_anonymous true
{user}"""


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return issue(tmp_path / "papers", device="kit", broker="localhost")


@pytest.fixture
def broker(tmp_path: Path, papers: Papers) -> Iterator[tuple[int, int]]:
    """Its ports, with TLS and without."""
    if MOSQUITTO is None:
        pytest.skip("Mosquitto is not installed")
    port, plain = free_port(), free_port()
    user = "user root\n" if os.geteuid() == 0 else ""
    config = tmp_path / "mosquitto.conf"
    config.write_text(_CONFIG.format(port=port, plain=plain, folder=papers.folder, user=user))
    child = Child.start("broker", [MOSQUITTO, "-c", str(config)], log=tmp_path / "broker.log")
    yield port, plain
    child.stop()


def connected(access: Access) -> None:
    """Connect and leave; the broker may still be starting. Raises TransportError."""
    end_s = time.monotonic() + 10.0
    while True:
        client = access.client("somebody")
        try:
            access.connect(client)
        except TransportError as error:
            if "refused" not in str(error) or time.monotonic() > end_s:
                raise
            time.sleep(0.1)
            continue
        client.disconnect()
        client.loop_stop()
        return


def test_a_device_is_tested_over_tls(broker: tuple[int, int], papers: Papers) -> None:
    port, plain = broker
    connected(Access(port=plain))
    folder = papers.folder
    words = ["--broker", f"mqtts://localhost:{port}", "--fleet", FLEET, "--device", NAME]
    words += ["--only", "order.answered", "--only", "will.death", "--strict"]
    words += ["--tls-ca", f"{folder}/ca.pem", "--tls-cert", f"{folder}/device.pem"]
    words += ["--tls-key", f"{folder}/device.key"]
    device = SmallDevice(plain, toy_bundle(), TRUSTED)
    try:
        done = CliRunner().invoke(command, words)
    finally:
        device.close()
    assert done.exit_code == 0, f"{done.output}{done.exception!r}"
    assert "4 pass, 0 fail, 0 not shown" in done.output


# paho leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*unclosed <ssl:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning")
def test_who_does_not_prove_who_they_are_is_told(
    broker: tuple[int, int], papers: Papers, tmp_path: Path
) -> None:
    port, plain = broker
    connected(Access(port=plain))
    stranger = issue(tmp_path / "stranger", device="kit", broker="localhost").folder
    with pytest.raises(TransportError, match=r"TLS failed: .*certificate"):
        connected(Access(host="localhost", port=port, tls_ca=f"{stranger}/ca.pem"))
    with pytest.raises(TransportError, match=r"TLS failed: .*127\.0\.0\.1"):
        connected(Access(host="127.0.0.1", port=port, tls_ca=f"{papers.folder}/ca.pem"))


def test_half_of_the_options_is_not_enough(papers: Papers) -> None:
    folder = papers.folder
    with pytest.raises(ConfigError, match="--tls-ca"):
        Access(tls_cert=f"{folder}/device.pem")
    with pytest.raises(ConfigError, match="--tls-cert"):
        Access(tls_ca=f"{folder}/ca.pem", tls_key=f"{folder}/device.key")
    with pytest.raises(ConfigError, match="TLS file"):
        Access(tls_ca=f"{folder}/device.key").client("kit")
    plain = CliRunner().invoke(command, ["--broker", "mqtts://localhost:8883"])
    assert "--tls-ca" in str(plain.exception)
