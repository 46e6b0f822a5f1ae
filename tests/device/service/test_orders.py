"""`device rollback` on a device that runs, on one that does not, and on one that hangs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgeadapt.bundle import SlotValues, read_folder
from edgeadapt.clock import Instant
from edgeadapt.digest import sha256_hex
from edgeadapt.errors import BundleError, TransportError
from edgeadapt.wire import Outcome, decode
from edgeadapt_device.cli import group
from edgeadapt_device.config import (
    DeviceConfig,
    DeviceSection,
    HttpSection,
    MqttSection,
    OutputSection,
    SourceSection,
)
from edgeadapt_device.core.core import DeviceCore
from edgeadapt_device.daemon import Daemon
from edgeadapt_device.io.lock import is_locked
from edgeadapt_device.io.outbox.sqlite import SqliteOutbox
from edgeadapt_device.io.store import GenerationStore
from edgeadapt_device.service import orders, stopped
from edgeadapt_device.status import read_status
from edgeadapt_models.compile import tiny_bundle
from tests.device import disk, rig

_WAIT_S = 30.0


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("orders") / "bundle"
    tiny_bundle(folder)
    return folder


@pytest.fixture
def config(tmp_path: Path, bundle_folder: Path) -> DeviceConfig:
    """A device that plays a stream round and round, offline."""
    np.save(tmp_path / "frames.npy", rig.frames(60))
    return rig.config(
        device=DeviceSection(
            name=rig.NAME, fleet=rig.FLEET, bundle=str(bundle_folder), state_dir=str(tmp_path / "state")
        ),
        mqtt=MqttSection(enabled=False),
        source=SourceSection(path=str(tmp_path), frames_per_second=100.0, loop=True),
        output=OutputSection(status_every_s=0.05),
        http=HttpSection(enabled=False),
    )


@pytest.fixture
def patch(tmp_path: Path, bundle_folder: Path) -> str:
    """The state folder has a confirmed patch, whose generation's name this is."""
    bundle = read_folder(bundle_folder)
    device = rig.Rig(bundle, store=GenerationStore(tmp_path / "state" / "generation"))
    device.assign()
    envelope = rig.sealed(bundle, rig.harmless(bundle), serial=7)
    device.publish(envelope)
    while device.generation == "base" or device.device.view(device.now).trial != "confirmed":
        device.play(rig.frames(50))
    device.device.stop()
    return sha256_hex(envelope)[:12]


@contextmanager
def running(config: DeviceConfig) -> Iterator[None]:
    """The daemon runs, and has shown itself."""
    stop = threading.Event()
    thread = threading.Thread(target=Daemon(config, stop).run)
    thread.start()
    try:
        state = Path(config.device.state_dir)
        deadline_s = time.monotonic() + _WAIT_S
        while not ((state / "status.json").is_file() and read_status(state).frames > 5):
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        yield
    finally:
        stop.set()
        thread.join(_WAIT_S)


def ask(config: DeviceConfig, folder: Path, *words: str) -> Result:
    """`device rollback` with this configuration."""
    sections = msgspec.to_builtins(config)
    lines = []
    for name in ("device", "mqtt", "source", "trust"):
        values = {k: msgspec.json.encode(v).decode() for k, v in sections[name].items()}
        lines += [f"[{name}]", *(f"{key} = {value}" for key, value in values.items())]
    (folder / "device.toml").write_text("\n".join(lines))
    return CliRunner().invoke(group, ["rollback", "--config", str(folder / "device.toml"), *words])


def told(config: DeviceConfig) -> list[Outcome]:
    """Outcomes that wait in the outbox."""
    folder = Path(config.device.state_dir)
    outbox = SqliteOutbox(
        folder / "outbox.sqlite", max_bytes=1 << 20, durability="normal", report=lambda text: None
    )
    try:
        rows = [outbox.payload(row.sequence) for row in outbox.pending()]
    finally:
        outbox.close()
    messages = [decode(row[1]) for row in rows if row is not None]
    return [message for message in messages if isinstance(message, Outcome)]


def test_a_running_device_goes_to_its_base_at_once_and_stays_there(
    tmp_path: Path, config: DeviceConfig, patch: str
) -> None:
    state = tmp_path / "state"
    with running(config):
        assert read_status(state).generation == patch
        done = ask(config, tmp_path, "--reason", "false alarms")
        assert done.exit_code == 0, done.output
        assert done.output.startswith(f"from generation {patch}, patch 7 of c1, to the base, now;")
        frames = read_status(state).frames
        while read_status(state).frames < frames + 20:
            time.sleep(0.02)
        status = read_status(state)
        assert (status.generation, status.patch, status.reverts) == ("base", "", 1)
        again = ask(config, tmp_path)
        assert again.exit_code == 0
        assert again.output.startswith("the base it was")
    assert not [path for path in state.iterdir() if path.name.startswith(("order", "answer"))]
    outcome = told(config)[-1]
    assert (outcome.state, outcome.reason, outcome.serial) == ("reverted", "false alarms", 7)
    with running(config):
        assert read_status(state).generation == "base"


def test_a_stopped_device_starts_with_its_base(tmp_path: Path, config: DeviceConfig, patch: str) -> None:
    done = ask(config, tmp_path)
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"from generation {patch} to the base, when the device starts")
    outcome = told(config)[-1]
    assert (outcome.state, outcome.serial) == ("reverted", 7)
    stored, _ = GenerationStore(tmp_path / "state" / "generation").load()
    assert stored is not None
    assert stored.patch == ""
    assert any(digest.startswith(patch) for digest in stored.blocked)
    with running(config):
        assert read_status(tmp_path / "state").generation == "base"


def test_a_device_that_never_ran_has_nothing_to_roll_back(tmp_path: Path, config: DeviceConfig) -> None:
    done = ask(config, tmp_path)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("the base it was")


def test_a_stopped_device_whose_disk_is_full_keeps_what_it_had(
    tmp_path: Path, config: DeviceConfig, patch: str
) -> None:
    stopped.roll_back(msgspec.structs.replace(config, trust=config.trust), "x", Instant(0.0, 1.8e9))
    # An outbox and a state are there now; from here on no file may grow.
    with disk.full(10), pytest.raises(TransportError):
        stopped.roll_back(config, "again", Instant(0.0, 1.8e9))
    stored, _ = GenerationStore(tmp_path / "state" / "generation").load()
    assert stored is not None
    assert stored.patch == ""


def test_a_base_that_cannot_be_built_is_said_and_the_patch_goes_on(
    tmp_path: Path, config: DeviceConfig, patch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(config):

        def refuses(engine: object, values: SlotValues) -> Any:
            raise BundleError("no memory")

        monkeypatch.setattr(engine_class(), "build", refuses)
        done = ask(config, tmp_path)
    assert done.exit_code == 1
    assert "the base could not be built" in done.output
    assert f"generation {patch} goes on" in done.output


def engine_class() -> Any:
    """The class whose `build` a daemon calls."""
    from edgeadapt_device.io.engines.onnx import OnnxEngine

    return OnnxEngine


def test_a_loop_that_hangs_does_not_take_the_order_which_is_then_taken_back(
    tmp_path: Path, config: DeviceConfig, patch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    with running(config):
        real = DeviceCore.next_deadline

        def hangs(core: DeviceCore) -> float | None:
            release.wait(_WAIT_S)
            return real(core)

        monkeypatch.setattr(DeviceCore, "next_deadline", hangs)
        time.sleep(0.1)
        done = ask(config, tmp_path, "--timeout", "1")
        monkeypatch.setattr(DeviceCore, "next_deadline", real)
        release.set()
    assert isinstance(done.exception, TransportError)
    assert "its loop hangs" in str(done.exception)
    assert not (tmp_path / "state" / orders.ORDER_NAME).exists()


def test_a_device_that_ends_with_an_order_before_it_gives_the_order_back(
    tmp_path: Path, config: DeviceConfig
) -> None:
    (tmp_path / "state").mkdir()
    assert orders.give(tmp_path / "state", "x", patience_s=5.0, runs=lambda: False) is None
    assert list((tmp_path / "state").iterdir()) == []


def test_a_device_that_ends_with_an_order_in_hand_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()

    def takes_it_and_dies() -> bool:
        (tmp_path / "state" / orders.ORDER_NAME).unlink()
        return False

    with pytest.raises(TransportError, match="ended before it had answered"):
        orders.give(tmp_path / "state", "x", patience_s=5.0, runs=takes_it_and_dies)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"id": 1, "reason": ""}', b"\xff" * 10_000])
def test_garbage_in_the_place_of_an_order_is_told_and_removed(
    tmp_path: Path, config: DeviceConfig, data: bytes
) -> None:
    (tmp_path / "state").mkdir()
    path = tmp_path / "state" / orders.ORDER_NAME
    path.write_bytes(data)
    heard: list[str] = []
    desk = orders.Desk(tmp_path / "state", heard.append, lambda order, now: 0)
    device = rig.Rig(read_folder(Path(config.device.bundle)))
    for _ in range(3):
        desk.tend(device.device.core, device.device._performer.handle, device.now)
        device.wait(1.0)
    assert len(heard) == 1
    assert "is no order" in heard[0]
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_wrote_belongs_to_the_folders_owner(
    tmp_path: Path, config: DeviceConfig, patch: str
) -> None:
    state = tmp_path / "state"
    for path in [state, *state.rglob("*")]:
        os.chown(path, 12345, 12345)
    assert ask(config, tmp_path).exit_code == 0
    assert {path.stat().st_uid for path in state.rglob("*")} == {12345}
    assert not is_locked(state)
