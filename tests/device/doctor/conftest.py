"""A device with which all is well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeadapt_device.config import (
    DeviceConfig,
    DeviceSection,
    HttpSection,
    MqttSection,
    OutputSection,
    SourceSection,
)
from edgeadapt_models.compile import tiny_bundle
from tests.device import rig


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doctor") / "bundle"
    tiny_bundle(folder)
    return folder


@pytest.fixture
def config(tmp_path: Path, bundle_folder: Path) -> DeviceConfig:
    """All is well, and no broker is wanted."""
    np.save(tmp_path / "frames.npy", rig.frames(60))
    return rig.config(
        device=DeviceSection(
            name=rig.NAME, fleet=rig.FLEET, bundle=str(bundle_folder), state_dir=str(tmp_path / "state")
        ),
        mqtt=MqttSection(enabled=False),
        source=SourceSection(path=str(tmp_path), frames_per_second=100.0, loop=True),
        output=OutputSection(status_every_s=0.05),
        http=HttpSection(port=0),
    )
