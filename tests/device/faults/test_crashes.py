"""A device that is killed: at every step to its disk, and again and again while its session is built."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.digest import sha256_hex
from edgeadapt_device.core.adapt.trial import TrialState
from edgeadapt_device.core.effects import CommitState, CountStarts
from edgeadapt_device.core.state import DeviceState
from edgeadapt_device.io.durable import Disk
from edgeadapt_device.io.store import GenerationStore
from edgeadapt_device.status import read_status
from edgeadapt_models.compile import tiny_bundle
from tests.device import rig
from tests.device.bench import Bench
from tests.device.disks import KillingDisk
from tests.device.rig import sealed


class _Life:
    """A core whose state goes to a real store, from its start to a confirmed update; no model runs."""

    def __init__(self, bundle: Bundle, folder: Path, disk: Disk | None = None) -> None:
        self._bundle, self._store, self._done = bundle, GenerationStore(folder, disk), 0
        self.committed: list[DeviceState] = []
        state, envelopes = self._store.load()
        known = CommitState(state, envelopes) if state is not None else None
        self.bench = Bench(bundle, known, failed_starts=self._store.failed_starts())
        self._perform()

    def _perform(self) -> None:
        for effect in self.bench.effects[self._done :]:
            if isinstance(effect, CommitState):
                self._store.commit(effect.state, effect.envelopes)
                self.committed.append(effect.state)
            elif isinstance(effect, CountStarts):
                self._store.count_starts(effect.failed)
        self._done = len(self.bench.effects)

    def live(self) -> None:
        """Confirm a patch and an update of it, and end on purpose."""
        bench = self.bench
        self._do(bench.ready)
        for serial in (1, 2):
            values = rig.harmless(self._bundle)
            values["norm2.bias"] = values["norm2.bias"] + np.float32(0.01 * serial)
            envelope = sealed(self._bundle, values, serial=serial)
            self._do(partial(bench.down, envelope))
            self._do(bench.ready)
            self._do(lambda: bench.play(200))
            assert bench.adaptation.patches.trial.state is TrialState.CONFIRMED
        bench.effects += bench.core.stop()
        self._perform()

    def _do(self, step: Callable[[], None]) -> None:
        step()
        self._perform()


def _ended(work: Callable[[], None]) -> int:
    """Run `work` in a process of its own; returns the signal that ended it, or 0."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def _live(bundle: Bundle, folder: Path, killed_at: int) -> None:
    _Life(bundle, folder, KillingDisk(killed_at)).live()


def test_a_kill_at_any_step_in_the_life_of_a_device(tiny: Bundle, tmp_path: Path) -> None:
    """From its first start over two trials: the next start finds a state of that life, whole."""
    whole = _Life(tiny, tmp_path / "whole")
    whole.live()
    known, digests = whole.committed, {state.patch for state in whole.committed}
    assert len(digests) == 3
    step, last = 0, -1
    while True:
        folder = tmp_path / str(step)
        ended = _ended(partial(_live, tiny, folder, step))
        store = GenerationStore(folder)
        state, envelopes = store.load()
        assert store.notes == []
        place = known.index(state) if state is not None else -1
        assert place >= last, f"step {step} lost what an earlier one had"
        last = place
        if state is not None:
            named = {state.patch, *(record.digest for record in state.bank)} - {""}
            assert named <= set(envelopes)
        again = _Life(tiny, folder).bench
        again.ready()
        expected = state.patch[:12] if state is not None else ""
        assert again.core.view(again.now).generation == (expected or "base")
        if ended == 0:
            break
        step += 1
    assert step > 40
    assert last == len(known) - 1


_BUILD_KILLS = """
import os, signal, sys, threading
from pathlib import Path
from edgeadapt_device.cli.common import read_config
from edgeadapt_device.daemon import Daemon
from edgeadapt_device.io.engines.onnx import OnnxEngine

real = OnnxEngine.build

def build(engine, values):
    if "norm2.bias" in values:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(engine, values)

OnnxEngine.build = build
Daemon(read_config(Path("device.toml")), threading.Event()).run()
"""


@pytest.mark.integration
def test_a_patch_whose_build_kills_the_process_gives_way_to_the_base_after_three_starts(
    tiny: Bundle, tmp_path: Path
) -> None:
    """As the OOM killer does it: the patch was confirmed, and no session for it can be built any more."""
    tiny_bundle(tmp_path / "bundle")
    store = GenerationStore(tmp_path / "state" / "generation")
    device, envelope = rig.Rig(tiny, store=store), sealed(tiny, rig.harmless(tiny))
    device.assign()
    device.publish(envelope)
    device.play(rig.frames(90))
    device.device.stop()
    state, _ = store.load()
    assert state is not None
    assert (state.patch, store.failed_starts()) == (sha256_hex(envelope), 0)
    (tmp_path / "stream").mkdir()
    np.save(tmp_path / "stream" / "frames.npy", rig.frames(200, seed=2))
    key = rig.KEY.public_key().public_bytes_raw().hex()
    (tmp_path / "device.toml").write_text(
        '[device]\nname = "camera-1"\nbundle = "bundle"\n[mqtt]\nenabled = false\n'
        f'[source]\npath = "stream"\n[http]\nenabled = false\n[trust]\nkeys = ["{key}"]\n'
    )

    def start() -> int:
        command = [sys.executable, "-c", _BUILD_KILLS]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, cwd=tmp_path, env=environment, check=False, timeout=60).returncode

    for failed in (1, 2, 3):
        assert start() == -signal.SIGKILL
        assert store.failed_starts() == failed
    assert start() == 0
    status = read_status(tmp_path / "state")
    assert (status.generation, status.frames) == ("base", 110)
    assert status.recovered == "3 starts in a row did not come to score frames"
    assert any("runs in place of what ran before" in reason for reason in status.reasons)
    state, _ = store.load()
    assert state is not None
    assert sha256_hex(envelope) in state.blocked
    assert store.failed_starts() == 0
