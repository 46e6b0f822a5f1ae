"""The kit leaves nothing retained, however it ends, and clears away what a killed run has left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from edgeadapt.wire import Assign, encode
from edgeadapt.wire.topics import cloud_status, down, patch
from edgeadapt_sim.broker import Broker
from edgeadapt_sim.conformance.access import Access
from edgeadapt_sim.conformance.stand import Stand
from tests.cloud.fleet import KEY, TRUSTED
from tests.core.bundles import bundle as toy_bundle
from tests.sim.conformance.small import FLEET, NAME, SmallDevice

pytestmark = pytest.mark.integration
BUNDLE = toy_bundle()
_PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker.start(log_dir=tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def device(broker: Broker) -> Iterator[SmallDevice]:
    found = SmallDevice(broker.port, BUNDLE, TRUSTED)
    yield found
    found.close()


def retained(broker: Broker, settle_s: float = 0.5) -> dict[str, bytes]:
    """What is retained below the fleet, but for the device's own status."""
    found: dict[str, bytes] = {}

    def note(client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        if message.retain and "/up/" not in message.topic:
            found[message.topic] = bytes(message.payload)

    access = Access(port=broker.port)
    client = access.client("observer")
    client.on_message = note
    access.connect(client)
    client.subscribe("edgeadapt/#", qos=1)
    time.sleep(settle_s)
    client.disconnect()
    client.loop_stop()
    return found


def until(holds: Callable[[], bool]) -> bool:
    """True once it holds, False when it did not in time."""
    end_s = time.monotonic() + _PATIENCE_S
    while not holds():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.1)
    return True


def started(broker: Broker, tmp_path: Path) -> subprocess.Popen[str]:
    """The command, on a clause that takes long, once it has retained a patch and an assignment."""
    from cryptography.hazmat.primitives import serialization as form

    key = tmp_path / "key.pem"
    key.write_bytes(KEY.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()))
    key.chmod(0o600)
    words = ["conformance", "--broker", f"127.0.0.1:{broker.port}", "--fleet", FLEET, "--device", NAME]
    words += ["--key", str(key), "--only", "patch.expired", "--only", "versions.apart", "--quiet-s", "60"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from edgeadapt.cli import main; main()", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "patch.expired" in line:
            break
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_ended_leaves_nothing(
    broker: Broker, device: SmallDevice, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = started(broker, tmp_path)
    assert {topic.rsplit("/", 1)[1] for topic in retained(broker)} == {"status", "assign", "patch"}
    process.send_signal(number)
    output = process.communicate(timeout=_PATIENCE_S)[0]
    assert process.returncode == code, output
    assert retained(broker) == {}


def test_what_a_killed_run_left_is_cleared_by_the_next(
    broker: Broker, device: SmallDevice, tmp_path: Path
) -> None:
    if broker.kind != "mosquitto":
        pytest.skip("whether an empty will clears a topic is the broker's affair")
    process = started(broker, tmp_path)
    process.kill()
    process.communicate()
    assert until(lambda: cloud_status(FLEET) not in retained(broker)), "the will takes the greeting away"
    assert {topic.rsplit("/", 1)[1] for topic in retained(broker)} == {"assign", "patch"}
    with Stand(Access(port=broker.port), FLEET, NAME):
        assert set(retained(broker)) == {cloud_status(FLEET)}
    assert retained(broker) == {}


def test_what_a_real_cloud_retains_is_left_alone(broker: Broker) -> None:
    access, theirs = Access(port=broker.port), patch(FLEET, "c7", "stable")
    other = down(FLEET, "another", "assign")
    assign = encode(Assign(cohort="conformance-1", segment=0, channel="stable", bundle="0" * 64))
    with Stand(access, "elsewhere", NAME) as cloud:
        cloud.send(theirs, b"\x81 no patch of the kit's", retain=True)
        cloud.send(other, assign, retain=True)
        with Stand(access, FLEET, NAME):
            pass
        assert {theirs, other} <= set(retained(broker))
