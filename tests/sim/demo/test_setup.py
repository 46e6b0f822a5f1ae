"""What the set-up leaves on disk is what the real commands read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeadapt.config import parse
from edgeadapt_cloud.io import keys
from edgeadapt_cloud.wiring import read_config
from edgeadapt_device.config import DeviceConfig, check
from edgeadapt_models.data import StreamSpec
from edgeadapt_models.data.streams.files import read
from edgeadapt_sim.demo.plan import DemoPlan, streams
from edgeadapt_sim.demo.setup import Prepared, configure, prepare

PLAN = DemoPlan(devices=2, seconds=12, frames_per_second=2)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    made = prepare(PLAN, tmp_path_factory.mktemp("demo"), lambda text: None)
    configure(PLAN, made, 12345)
    return made


def test_devices_and_cloud_read_their_files(prepared: Prepared) -> None:
    cloud = read_config(prepared.cloud_config, environ={})
    key = keys.public_hex(keys.load(Path(cloud.signing.key)))
    for device in prepared.devices:
        config = check(parse(device.config.read_text(), DeviceConfig, source=str(device.config)))
        assert (config.device.name, config.device.fleet) == (device.name, cloud.cloud.fleet)
        assert config.trust.keys == (key,)
        assert config.mqtt.port == cloud.mqtt.port == 12345
        assert np.load(Path(config.source.path) / "frames.npy").shape == (24, 28, 28, 1)


def test_a_second_time_nothing_is_made_again(prepared: Prepared) -> None:
    (prepared.out / "predictions" / "stale.csv").write_text("0,1\n")
    said: list[str] = []
    again = prepare(PLAN, prepared.out, said.append)
    assert said == []
    assert again.bundle.digest == prepared.bundle.digest
    assert not list((prepared.out / "predictions").iterdir())


def test_another_plan_renders_other_streams(prepared: Prepared) -> None:
    said: list[str] = []
    other = DemoPlan(devices=1, seconds=12, frames_per_second=2, seed=4)
    made = prepare(other, prepared.out, said.append)
    assert any("rendering" in text for text in said)
    spec: StreamSpec = read(made.devices[0].stream).spec
    assert spec == streams(other)["camera-1"]
