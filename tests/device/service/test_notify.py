"""What a service manager hears, on a real socket: from the notifier, and from a daemon as a process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeadapt.errors import ConfigError
from edgeadapt_device.config import (
    DeviceConfig,
    DeviceSection,
    MqttSection,
    OutputSection,
    SourceSection,
)
from edgeadapt_device.daemon import Daemon
from edgeadapt_device.io.engines.onnx import OnnxEngine, OnnxSession
from edgeadapt_device.service.notify import Notifier, from_environment
from edgeadapt_models.compile import tiny_bundle
from tests.device import rig

_WAIT_S = 30.0


class Manager:
    """A service manager's end of the line."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(_WAIT_S)

    def hear(self) -> str:
        """The next datagram."""
        return self._socket.recv(4096).decode()

    def hear_until(self, text: str) -> list[str]:
        """Datagrams up to the first that is `text`."""
        heard = [self.hear()]
        while heard[-1] != text:
            heard.append(self.hear())
        return heard

    def drain(self) -> list[str]:
        """What is there already."""
        heard = []
        self._socket.setblocking(False)
        try:
            while True:
                heard.append(self.hear())
        except BlockingIOError:
            return heard
        finally:
            self._socket.settimeout(_WAIT_S)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@edgeadapt-test-{os.getpid()}"
    made = Manager(name)
    yield made
    made.close()


def test_every_line_arrives_as_the_manager_expects_it(manager: Manager) -> None:
    notifier = Notifier(manager.address, watchdog_s=10.0)
    notifier.ready()
    notifier.status("generation base\nno broker")
    notifier.status("generation base no broker")
    for mono_s in (100.0, 104.9, 105.0, 106.0, 110.0):
        notifier.alive(mono_s)
    notifier.stopping()
    notifier.close()
    notifier.ready()
    assert manager.drain() == [
        "READY=1",
        "STATUS=generation base no broker",
        "WATCHDOG=1",
        "WATCHDOG=1",
        "WATCHDOG=1",
        "STOPPING=1",
    ]


def test_a_manager_that_does_not_listen_blocks_nothing_and_hears_it_later(tmp_path: Path) -> None:
    notifier = Notifier(str(tmp_path / "notify"), watchdog_s=10.0)
    notifier.alive(0.0)
    notifier.status("same")
    manager = Manager(str(tmp_path / "notify"))
    notifier.alive(0.1)
    notifier.status("same")
    assert manager.drain() == ["WATCHDOG=1", "STATUS=same"]
    for mono_s in range(0, 100_000, 10):  # more than the socket holds
        notifier.alive(float(mono_s))
    notifier.close()
    manager.close()


def test_what_the_environment_offers(tmp_path: Path) -> None:
    environ = {"NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}
    mine, other = from_environment(environ, 7), from_environment(environ, 8)
    assert (mine.watchdog_s, other.watchdog_s) == (3.0, 0.0)
    nobody = from_environment({}, 7)
    nobody.ready()
    for notifier in (mine, other):
        notifier.close()


@pytest.mark.parametrize(
    ("environ", "words"),
    [({"NOTIFY_SOCKET": "vsock:2:1"}, "NOTIFY_SOCKET"), ({"WATCHDOG_USEC": "soon"}, "WATCHDOG_USEC")],
)
def test_an_environment_that_makes_no_sense_is_named(environ: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        from_environment(environ, 7)


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notify") / "bundle"
    tiny_bundle(folder)
    return folder


@pytest.fixture
def config(tmp_path: Path, bundle_folder: Path) -> DeviceConfig:
    np.save(tmp_path / "frames.npy", rig.frames(60))
    return rig.config(
        device=DeviceSection(
            name=rig.NAME, fleet=rig.FLEET, bundle=str(bundle_folder), state_dir=str(tmp_path / "state")
        ),
        mqtt=MqttSection(enabled=False),
        source=SourceSection(path=str(tmp_path), frames_per_second=100.0, loop=True),
        output=OutputSection(status_every_s=0.05),
    )


def test_ready_comes_with_the_first_warm_generation_and_a_hung_loop_falls_silent(
    tmp_path: Path, config: DeviceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = Manager(str(tmp_path / "notify"))
    notifier = Notifier(manager.address, watchdog_s=0.1)
    real_build, real_run = OnnxEngine.build, OnnxSession.run
    build, hung, release = threading.Event(), threading.Event(), threading.Event()

    def held(engine: OnnxEngine, values: object) -> OnnxSession:
        build.wait(_WAIT_S)
        return real_build(engine, values)  # type: ignore[arg-type]

    def hangs_when_told(session: OnnxSession, *words: object, **named: object) -> object:
        if threading.current_thread().name == "owner" and hung.is_set():
            release.wait(_WAIT_S)
        return real_run(session, *words, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(OnnxEngine, "build", held)
    monkeypatch.setattr(OnnxSession, "run", hangs_when_told)
    stop = threading.Event()
    thread = threading.Thread(target=Daemon(config, stop, notifier).run, name="owner")
    thread.start()
    try:
        before = [manager.hear() for _ in range(3)]
        assert "READY=1" not in before
        build.set()
        manager.hear_until("READY=1")
        assert manager.hear_until("WATCHDOG=1")
        hung.set()
        time.sleep(0.3)  # a frame that was under way ends
        manager.drain()
        time.sleep(0.5)
        assert manager.drain() == []
        hung.clear()
        release.set()
        manager.hear_until("WATCHDOG=1")
    finally:
        stop.set()
        release.set()
        build.set()
        thread.join(_WAIT_S)
    assert manager.drain()[-1] == "STOPPING=1"
    manager.close()
    notifier.close()


@pytest.mark.integration
def test_the_process_tells_its_manager(tmp_path: Path, config: DeviceConfig) -> None:
    manager = Manager(str(tmp_path / "notify"))
    text = (
        f'[device]\nname = "a"\nbundle = "{config.device.bundle}"\nstate_dir = "state"\n'
        f'[mqtt]\nenabled = false\n[source]\npath = "{tmp_path}"\nframes_per_second = 50.0\nloop = true\n'
    )
    (tmp_path / "device.toml").write_text(text)
    process = subprocess.Popen(
        [sys.executable, "-c", "from edgeadapt.cli import main; main()", "device", "run"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "100000"},
    )
    try:
        manager.hear_until("READY=1")
        manager.hear_until("WATCHDOG=1")
        manager.hear_until("STATUS=generation base, segment 0, no broker")
        process.send_signal(signal.SIGTERM)
        manager.hear_until("STOPPING=1")
        assert process.wait(_WAIT_S) == 0
    finally:
        process.kill()
        process.communicate()
        manager.close()
