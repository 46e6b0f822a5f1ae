"""Our own daemon passes every clause of the kit, as a process at a real broker."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeadapt.bundle import read_folder
from edgeadapt_models.compile import tiny_bundle
from edgeadapt_sim.broker import Broker
from edgeadapt_sim.conformance.access import Access
from edgeadapt_sim.conformance.clause import Patience, Trial
from edgeadapt_sim.conformance.run import CLAUSES, run
from edgeadapt_sim.conformance.stand import Stand
from tests.device import rig

pytestmark = pytest.mark.integration

_CONFIG = """\
[device]
name = "camera-1"
fleet = "farm"
bundle = "bundle"
state_dir = "state"
[mqtt]
port = {port}
reconnect_max_s = 1
will_delay_s = 0
[source]
path = "stream"
frames_per_second = 100
loop = true
[probe]
share = 1.0
[flagging]
min_drift = 0.0
[delivery]
resend_s = 0.5
resend_max_s = 1.0
descriptors_first = "always"
descriptor_items = 4
descriptor_pause_s = 1.0
[trial]
frames = 60
share = 1.0
min_compared = 16
settle_frames = 0
[output]
predictions = ""
status_every_s = 0.2
metric_every_s = 0.5
[trust]
keys = ["{key}"]
"""


class Ward:
    """The daemon in a folder of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        tiny_bundle(folder / "bundle")
        (folder / "stream").mkdir()
        np.save(folder / "stream" / "frames.npy", rig.frames(400))
        key = rig.KEY.public_key().public_bytes_raw().hex()
        (folder / "device.toml").write_text(_CONFIG.format(port=port, key=key))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or kill it and start it anew."""
        self.stop()
        log = (self._folder / "device.log").open("ab")
        script = "from edgeadapt.cli import main; main()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", script, "device", "run"],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        log.close()

    def stop(self) -> None:
        """As a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[tuple[Ward, Broker]]:
    with Broker.start(log_dir=tmp_path / "broker") as broker:
        device = Ward(tmp_path, broker.port)
        yield device, broker
        device.stop()


def test_our_own_daemon_passes(ward: tuple[Ward, Broker], tmp_path: Path) -> None:
    device, broker = ward
    device.start()
    patience = Patience(answer_s=15.0, resend_s=10.0, quiet_s=2.5, sample_s=30.0)
    with Stand(Access(port=broker.port), rig.FLEET, rig.NAME) as stand:
        trial = Trial(
            stand, patience, bundle=read_folder(tmp_path / "bundle"), key=rig.KEY, restart=device.start
        )
        results = run(trial)
    log = (tmp_path / "device.log").read_text()[-3000:]
    failures = {result.name: result.detail for result in results if result.state == "fail"}
    assert not failures, log
    unseen = {result.name: result.detail for result in results if result.state == "not shown"}
    assert not unseen, log
    assert len(results) == len(CLAUSES)
