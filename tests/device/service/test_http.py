"""What a monitor gets from a running device, from one that hangs, and from one whose port is taken."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import ifaddr
import msgspec
import numpy as np
import pytest

from edgeadapt.errors import ConfigError
from edgeadapt_device.config import (
    DeviceConfig,
    DeviceSection,
    HttpSection,
    MqttSection,
    OutputSection,
    SourceSection,
    check,
)
from edgeadapt_device.daemon import Daemon
from edgeadapt_device.service import health
from edgeadapt_device.service.http import Monitor
from edgeadapt_device.status import DeviceStatus, read_status
from edgeadapt_models.compile import tiny_bundle
from tests.device import rig

GOOD = DeviceStatus(time_s=2e9, pid=7, ready=True, running=True, generation="base", frames=5)
_SAMPLE = re.compile(r'([a-z_]+)(\{[a-z]+="(?:[^"\\\n]|\\.)*"(?:,[a-z]+="(?:[^"\\\n]|\\.)*")*\})? (\S+)')


def get(address: str, path: str, method: str = "GET") -> tuple[int, str, str]:
    """Code, content type and body of an answer."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read().decode()
    finally:
        connection.close()


def samples(text: str) -> dict[str, float]:
    """Name to value of a page in the text format; asserts that it is one.

    Samples that only their labels tell apart are summed.
    """
    found: dict[str, float] = {}
    lines, seen = text.split("\n"), set[str]()
    assert lines.pop() == ""
    while lines:
        if lines[0].startswith("# HELP "):
            family, kind = lines.pop(0).split()[2], lines.pop(0)
            assert family not in found
            assert kind in (f"# TYPE {family} counter", f"# TYPE {family} gauge")
            assert kind.endswith("counter") == family.endswith("_total")
        match = _SAMPLE.fullmatch(line := lines.pop(0))
        assert match is not None, line
        name, labels, value = match.groups()
        assert name == family
        assert f"{name}{labels}" not in seen
        seen.add(f"{name}{labels}")
        found[name] = found.get(name, 0.0) + float(value)
    return found


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    made = Monitor("127.0.0.1", 0)
    yield made
    made.close()


def test_before_the_first_status_it_is_not_healthy(monitor: Monitor) -> None:
    code, kind, body = get(monitor.address, "/healthz")
    assert (code, kind) == (503, "application/json")
    assert json.loads(body)["reasons"] == ["the device is starting"]
    assert get(monitor.address, "/metrics")[0] == 503


@pytest.mark.parametrize(("state", "code"), [("ok", 200), ("degraded", 200), ("failed", 503)])
def test_the_code_follows_the_health_and_the_reasons_are_there(
    monitor: Monitor, state: str, code: int
) -> None:
    monitor.show(msgspec.structs.replace(GOOD, health=state, reasons=("why",)))
    found = get(monitor.address, "/healthz")
    assert found[0] == code
    assert json.loads(found[2]) == {"health": state, "reasons": ["why"], "generation": "base", "frames": 5}
    assert samples(get(monitor.address, "/metrics")[2])["edgeadapt_device_up"] == (code == 200)


def test_a_loop_that_does_not_come_round_is_not_healthy(
    monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor.show(GOOD)
    assert get(monitor.address, "/healthz")[0] == 200
    monkeypatch.setattr(health, "SILENT_S", -1.0)
    code, _, body = get(monitor.address, "/healthz")
    assert code == 503
    assert "has not come round" in json.loads(body)["reasons"][0]


def test_labels_are_escaped_and_other_pages_are_not_there(monitor: Monitor) -> None:
    monitor.show(msgspec.structs.replace(GOOD, patch='7 of "a"\\\n', frames=3, latency_ms=2.5))
    code, kind, page = get(monitor.address, "/metrics?x=1")
    assert (code, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert r'patch="7 of \"a\"\\\n"' in page
    found = samples(page)
    assert found["edgeadapt_device_frames_total"] == 3
    assert found["edgeadapt_device_latency_seconds"] == 0.0025
    assert get(monitor.address, "/status.json")[0] == 404
    assert msgspec.json.decode(get(monitor.address, "/status")[2], type=DeviceStatus).frames == 3
    assert get(monitor.address, "/healthz", "HEAD")[::2] == (200, "")
    assert get(monitor.address, "/healthz", "POST")[0] == 501


def test_the_whole_status_is_for_this_machine_alone() -> None:
    others = [str(ip.ip) for adapter in ifaddr.get_adapters() for ip in adapter.ips if ip.is_IPv4]
    others = [address for address in others if not address.startswith("127.")]
    if not others:
        pytest.skip("this machine has no other address")
    public = Monitor("0.0.0.0", 0)
    try:
        public.show(GOOD)
        port = public.address.split(":")[1]
        assert get(f"127.0.0.1:{port}", "/status")[0] == 200
        assert get(f"{others[0]}:{port}", "/status")[0] == 404
        assert get(f"{others[0]}:{port}", "/healthz")[0] == 200
    finally:
        public.close()


def test_a_client_that_says_nothing_keeps_nobody_else_waiting(monitor: Monitor) -> None:
    monitor.show(GOOD)
    host, port = monitor.address.split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(8)]
    assert get(monitor.address, "/healthz")[0] == 200
    for client in silent:
        client.close()


def test_addresses_that_may_be_listened_on() -> None:
    for host in ("127.0.0.1", "127.1.2.3", "::1"):
        check(rig.config(http=HttpSection(host=host)))
    check(rig.config(http=HttpSection(host="0.0.0.0", public=True)))
    with pytest.raises(ConfigError, match=r"http\.public = true"):
        check(rig.config(http=HttpSection(host="0.0.0.0")))
    with pytest.raises(ConfigError, match=r"http\.host"):
        check(rig.config(http=HttpSection(host="localhost")))


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("http") / "bundle"
    tiny_bundle(folder)
    return folder


def daemon_config(folder: Path, bundle: Path, http: HttpSection) -> DeviceConfig:
    # In another light: at home statistics hardly move, and no session is built for them.
    np.save(folder / "frames.npy", rig.frames(60, level=0.5))
    return rig.config(
        device=DeviceSection(name=rig.NAME, bundle=str(bundle), state_dir=str(folder / "state")),
        mqtt=MqttSection(enabled=False),
        source=SourceSection(path=str(folder), frames_per_second=100.0, loop=True),
        output=OutputSection(status_every_s=0.05),
        http=http,
    )


def status_with(state: Path, found: object) -> DeviceStatus:
    """Wait for a status for which `found` is true."""
    assert callable(found)
    deadline_s = time.monotonic() + 30
    while not ((state / "status.json").is_file() and found(read_status(state))):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    return read_status(state)


def test_a_running_device_is_healthy_and_counts(tmp_path: Path, bundle_folder: Path) -> None:
    config, stop = daemon_config(tmp_path, bundle_folder, HttpSection(port=0)), threading.Event()
    thread = threading.Thread(target=Daemon(config, stop).run)
    thread.start()
    try:
        status = status_with(tmp_path / "state", lambda s: s.swaps >= 2 and s.swap_gap_ms > 0)
        assert (status.health, status.reasons, status.ready) == ("ok", (), True)
        assert (status.statistics, status.provider) == (True, "CPUExecutionProvider")
        assert status.runtime.startswith("onnxruntime 1.")
        assert 0.0 <= status.frame_age_s < 5.0
        assert status.generation_age_s >= 0.0
        assert status.mono_s <= time.monotonic()
        assert get(status.http, "/healthz")[0] == 200
        first = samples(get(status.http, "/metrics")[2])
        time.sleep(1.2)
        second = samples(get(status.http, "/metrics")[2])
        assert 0 < first["edgeadapt_device_frames_total"] < second["edgeadapt_device_frames_total"]
        assert first["edgeadapt_device_up"] == first["edgeadapt_device_healthy"] == 1
    finally:
        stop.set()
        thread.join(30)
    last = read_status(tmp_path / "state")
    assert last.http == ""
    with pytest.raises(OSError, match="refused"):
        get(status.http, "/healthz")


def test_a_port_in_use_is_said_and_ends_nothing(
    tmp_path: Path, bundle_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config, stop = daemon_config(tmp_path, bundle_folder, HttpSection(port=port)), threading.Event()
        thread = threading.Thread(target=Daemon(config, stop).run)
        thread.start()
        try:
            status = status_with(tmp_path / "state", lambda s: s.frames > 20)
        finally:
            stop.set()
            thread.join(30)
    assert (status.http, status.health) == ("", "degraded")
    (reason,) = status.reasons
    assert f"127.0.0.1:{port}: Address already in use" in reason
    assert "set http.port" in reason
    assert reason in caplog.text
