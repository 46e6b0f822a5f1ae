"""The engine that a daemon runs on, in its log and its status."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt_device.config import (
    DeviceConfig,
    DeviceSection,
    EngineSection,
    HttpSection,
    MqttSection,
    SourceSection,
)
from edgeadapt_device.daemon import Daemon
from edgeadapt_device.status import read_status
from edgeadapt_models.compile.write import write_folder
from tests.device import rig
from tests.device.io.engines.bundles import files_of, with_tflite


@pytest.fixture
def config(tiny: Bundle, tmp_path: Path) -> DeviceConfig:
    """A daemon on a bundle with models for both runtimes, with a few frames to score."""
    write_folder(files_of(with_tflite(tiny)), tmp_path / "bundle")
    (tmp_path / "stream").mkdir()
    np.save(tmp_path / "stream" / "frames.npy", rig.frames(60))
    device = DeviceSection(
        name="camera-1", bundle=str(tmp_path / "bundle"), state_dir=str(tmp_path / "state")
    )
    return DeviceConfig(
        device=device,
        mqtt=MqttSection(enabled=False),
        source=SourceSection(path=str(tmp_path / "stream")),
        http=HttpSection(enabled=False),
    )


@pytest.mark.parametrize(
    ("engine", "runtime", "provider", "fallback"),
    [
        (EngineSection(), "onnxruntime 1.", "CPUExecutionProvider", ""),
        (EngineSection(runtime="tflite"), "ai_edge_litert 2.", "CPU", ""),
        (
            EngineSection(providers=("cuda",)),
            "onnxruntime 1.",
            "CPUExecutionProvider",
            "CUDAExecutionProvider",
        ),
    ],
    ids=["onnxruntime", "tflite", "fallback"],
)
def test_what_runs_and_what_does_not_is_in_log_and_status(
    config: DeviceConfig,
    caplog: pytest.LogCaptureFixture,
    engine: EngineSection,
    runtime: str,
    provider: str,
    fallback: str,
) -> None:
    with caplog.at_level(logging.INFO, logger="edgeadapt.device"):
        Daemon(msgspec.structs.replace(config, engine=engine), threading.Event()).run()
    status = read_status(Path(config.device.state_dir))
    assert status.frames == 60
    assert status.runtime.startswith(runtime)
    assert status.runtime.endswith(" float32")
    assert status.provider == provider
    assert status.fallback.startswith(fallback)
    assert bool(status.fallback) == bool(fallback)
    (line,) = [text for text in caplog.messages if text.startswith("engine: ")]
    assert runtime in line
    assert fallback in line
