"""What is wrong on the machine itself is found, with the fix, and nothing is left behind."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgeadapt.bundle import FileDigest, decode_manifest, encode_manifest, read_folder
from edgeadapt.digest import sha256_hex
from edgeadapt.tensors import decode_tensors, encode_tensors
from edgeadapt_device.config import (
    DeliverySection,
    DeviceConfig,
    EngineSection,
    MqttSection,
    TrustSection,
)
from edgeadapt_device.doctor import Level, examine
from edgeadapt_device.io.engines.base import Frames, Scores
from edgeadapt_device.io.engines.onnx import OnnxSession
from edgeadapt_device.io.store import GenerationStore
from edgeadapt_device.status import DeviceStatus, write_status
from edgeadapt_sim.broker import free_port
from tests.device import rig
from tests.device.doctor.ward import FAILED, OK, WARNING, changed, found, one, running


def test_a_device_that_can_work_is_well_and_nothing_is_left_behind(
    tmp_path: Path, config: DeviceConfig
) -> None:
    before = sorted(tmp_path.rglob("*"))
    findings = list(examine(config))
    assert {finding.level for finding in findings} == {OK}, findings
    checks = {finding.check for finding in findings}
    assert checks >= {"process", "runtime", "providers", "bundle", "model", "outputs", "source", "disk"}
    assert checks >= {"room", "clock", "timers", "certificates", "trust", "broker"}
    assert sorted(tmp_path.rglob("*")) == before


def test_a_device_that_runs_is_named_and_keeps_its_source(config: DeviceConfig) -> None:
    with running(config):
        process, source = one(config, "process"), one(config, "source")
    assert (process.level, process.text) == (OK, f"process {os.getpid()} runs here and is ok")
    assert source.level is OK
    assert "not opened again" in source.text


def test_a_port_in_use_is_a_warning(config: DeviceConfig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finding = one(changed(config, "http", port=port), "monitor")
    assert finding.level is WARNING
    assert f":{port} cannot be listened on" in finding.text


# Runtime and model


def test_a_runtime_that_does_not_exist_or_is_not_installed(
    config: DeviceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = changed(config, "engine", runtime="abacus")
    assert one(unknown, "runtime").level is FAILED
    assert "onnxruntime, tflite" in one(unknown, "runtime").fix
    from edgeadapt_device.doctor import runtime

    monkeypatch.setitem(runtime._PACKAGES, "tflite", (("no-such-distribution",), "tflite"))
    (missing,) = runtime.look(EngineSection(runtime="tflite"))
    assert missing.level is FAILED
    assert missing.fix == "pip install 'edgeadapt[tflite]'"


def test_a_provider_that_this_build_lacks_is_a_warning_here_and_at_the_model(config: DeviceConfig) -> None:
    asked = changed(config, "engine", providers=("cuda",))
    providers, model = one(asked, "providers"), one(asked, "model")
    assert (providers.level, model.level) == (WARNING, WARNING)
    assert "CUDAExecutionProvider" in providers.fix
    assert "CUDAExecutionProvider does not run" in model.text


def test_a_bundle_whose_file_was_edited_names_the_file(
    tmp_path: Path, config: DeviceConfig, bundle_folder: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in bundle_folder.iterdir():
        data = bytearray(path.read_bytes())
        if path.name == "model.onnx":
            data[len(data) // 2] ^= 1
        (broken / path.name).write_bytes(data)
    finding = one(changed(config, "device", bundle=str(broken)), "bundle")
    assert finding.level is FAILED
    assert "model.onnx" in finding.text
    # What needs no bundle is looked at all the same.
    assert one(changed(config, "device", bundle=str(broken)), "disk").level is OK


def test_a_bundle_of_an_earlier_release_is_a_warning_that_names_what_it_lacks(
    tmp_path: Path, config: DeviceConfig, bundle_folder: Path
) -> None:
    old = tmp_path / "old"
    shutil.copytree(bundle_folder, old)
    for lacks, words in (
        (("signature_whitening", "drift_tolerance"), "no whitening: only drift of more than 0.2"),
        (("class_signatures",), "no signatures of its classes and no whitening: only drift of more than 0.6"),
    ):
        without_tensors(old, lacks)
        examined = changed(config, "device", bundle=str(old))
        bundle, signatures = one(examined, "bundle"), one(examined, "signatures")
        assert (bundle.level, signatures.level) == (OK, WARNING)
        assert words in signatures.text
        assert "compile the model again" in signatures.fix


def without_tensors(folder: Path, names: tuple[str, ...]) -> None:
    """Take tensors out of a bundle's calibration, and put its digest right."""
    path = folder / "calibration.safetensors"
    tensors = decode_tensors(path.read_bytes())
    data = encode_tensors({name: value for name, value in tensors.items() if name not in names})
    path.write_bytes(data)
    manifest = decode_manifest((folder / "manifest.json").read_bytes())
    files = tuple(
        FileDigest(f.name, sha256_hex(data), len(data)) if f.name == path.name else f for f in manifest.files
    )
    (folder / "manifest.json").write_bytes(encode_manifest(msgspec.structs.replace(manifest, files=files)))


def test_outputs_that_are_probabilities_are_a_failure(
    config: DeviceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = OnnxSession.run

    def squashes(session: OnnxSession, images: Frames, *, probe: bool) -> Scores:
        scores = real(session, images, probe=probe)
        powers = np.exp(scores.logits - scores.logits.max(axis=1, keepdims=True))
        return Scores(powers / powers.sum(axis=1, keepdims=True), *_rest(scores))

    monkeypatch.setattr(OnnxSession, "run", squashes)
    finding = one(config, "outputs")
    assert finding.level is FAILED
    assert "probabilities" in finding.text


def _rest(scores: Scores) -> tuple[Any, ...]:
    return scores.embedding, scores.mean, scores.mean_square


# Source


def test_sources_that_are_not_there_or_do_not_fit(tmp_path: Path, config: DeviceConfig) -> None:
    assert one(changed(config, "source", path=str(tmp_path / "nowhere")), "source").level is FAILED
    np.save(tmp_path / "frames.npy", np.zeros((3, 32, 32, 3), np.uint8))
    finding = one(config, "source")
    assert finding.level is FAILED
    assert "(32, 32, 3)" in finding.text or "[32, 32, 3]" in finding.text


def test_a_watched_folder_may_be_empty_and_keeps_its_files(tmp_path: Path, config: DeviceConfig) -> None:
    (tmp_path / "in").mkdir()
    watch = changed(
        config, "source", kind="watch", path=str(tmp_path / "in"), settle_s=0.0, poll_s=0.05, after="delete"
    )
    empty = one(watch, "source")
    assert (empty.level, "nothing new" in empty.text) == (OK, True)
    np.save(tmp_path / "in" / "one.npy", rig.frames(1)[0])
    from PIL import Image

    Image.fromarray(rig.frames(1)[0, :, :, 0]).save(tmp_path / "in" / "two.png")
    assert one(watch, "source").level is OK
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["one.npy", "two.png"]


# Disk, clock, rights


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path, config: DeviceConfig) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    finding = one(changed(config, "device", state_dir=str(tmp_path / "locked" / "state")), "disk")
    assert finding.level is FAILED


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root may write everywhere")
def test_files_that_another_user_has_left(tmp_path: Path) -> None:
    (tmp_path / "state" / "generation").mkdir(parents=True)
    left = tmp_path / "state" / "outbox.sqlite"
    left.touch(mode=0o444)
    script = (
        "import sys; from pathlib import Path; from edgeadapt_device.doctor import disk;"
        "from edgeadapt_device.config import DeviceConfig, DeviceSection;"
        "config = DeviceConfig(device=DeviceSection(name='a', state_dir=sys.argv[1]));"
        "print(*[each.text for each in disk.look(config) if each.check == 'rights'])"
    )
    # Root as far as it owns things, and no further.
    caps = "-dac_override,-dac_read_search,-fowner"
    as_anyone = ["setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}"] if os.geteuid() == 0 else []
    words = [*as_anyone, sys.executable, "-c", script, str(tmp_path / "state")]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert f"1 files cannot be written by user {os.geteuid()}, such as {left}" in done.stdout
    left.chmod(0o644)
    assert subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout == "\n"


def test_a_place_that_takes_no_files(config: DeviceConfig) -> None:
    for place in ("/proc/state", "/sys/state"):
        finding = next(f for f in examine(changed(config, "device", state_dir=place)) if f.check == "disk")
        assert finding.level is FAILED
        assert "cannot be written" in finding.text
        assert "device.state_dir" in finding.fix


def test_room_is_held_against_the_outbox(config: DeviceConfig) -> None:
    free = os.statvfs(Path(config.device.bundle)).f_bavail * os.statvfs(config.device.bundle).f_frsize
    asked = msgspec.structs.replace(config, delivery=DeliverySection(outbox_bytes=free))
    finding = one(asked, "room")
    assert finding.level is WARNING
    assert "delivery.outbox_bytes" in finding.fix


def test_a_state_folder_in_memory_is_a_warning(config: DeviceConfig) -> None:
    if not Path("/dev/shm").is_dir():
        pytest.skip("no folder in memory on this machine")
    name = f"/dev/shm/edgeadapt-{os.getpid()}"
    findings = found(changed(config, "device", state_dir=name), "disk")
    assert [finding.level for finding in findings] == [OK, WARNING]
    assert "gone after a reboot" in findings[1].text
    assert not Path(name).exists()


def test_a_clock_that_was_never_set_or_went_back(
    tmp_path: Path, config: DeviceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").mkdir()
    write_status(tmp_path / "state", DeviceStatus(time_s=time.time() + 3600.0, pid=1))
    finding = one(config, "clock")
    assert finding.level is WARNING
    assert "before the device last ran" in finding.text
    monkeypatch.setattr(time, "time", lambda: 86_400.0)
    finding = one(config, "clock")
    assert finding.level is FAILED
    assert "1970-01-02" in finding.text


@pytest.mark.parametrize(
    ("wall_s", "level", "words"),
    [
        (rig.START_S + 10.0, OK, "patch 7 of c1, stored here, is good"),
        (rig.START_S + 2e6, OK, "has expired; confirmed, it goes on"),
        (rig.START_S - 1e6, WARNING, "the clock is behind"),
    ],
)
def test_stored_patches_are_held_against_the_clock(
    tmp_path: Path,
    config: DeviceConfig,
    monkeypatch: pytest.MonkeyPatch,
    wall_s: float,
    level: Level,
    words: str,
) -> None:
    bundle = read_folder(Path(config.device.bundle))
    device = rig.Rig(bundle, store=GenerationStore(tmp_path / "state" / "generation"))
    device.assign()
    device.publish(rig.sealed(bundle, rig.harmless(bundle), serial=7))
    while device.device.view(device.now).trial != "confirmed":
        device.play(rig.frames(50))
    device.device.stop()
    monkeypatch.setattr(time, "time", lambda: wall_s)
    finding = next(finding for finding in examine(config) if "patch 7" in finding.text)
    assert finding.level is level
    assert words in finding.text
    assert one(changed(config, "trust", keys=("00" * 32,)), "state").level is WARNING


def test_a_damaged_state_is_said(tmp_path: Path, config: DeviceConfig) -> None:
    (tmp_path / "state" / "generation").mkdir(parents=True)
    (tmp_path / "state" / "generation" / "state.msgpack").write_bytes(b"damaged" * 100)
    finding = one(config, "state")
    assert finding.level is WARNING
    assert "state.msgpack: damaged" in finding.text


def test_rights_and_keys(tmp_path: Path, config: DeviceConfig) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    (tmp_path / "secret").chmod(0o644)
    asked = msgspec.structs.replace(
        config,
        mqtt=MqttSection(port=free_port(), username="u", password_file=str(tmp_path / "secret")),
        trust=TrustSection(),
    )
    rights = one(asked, "rights")
    assert rights.level is WARNING
    assert rights.fix == f"chmod go-rwx {tmp_path / 'secret'}"
    assert one(asked, "trust").level is WARNING
    (tmp_path / "secret").chmod(0o600)
    assert not [finding for finding in examine(asked) if finding.check == "rights"]
    assert "hunter2" not in repr(list(examine(asked)))
