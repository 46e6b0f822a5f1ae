"""What survives a restart, and what a device makes of a state that it can no longer use in full."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.digest import sha256_hex
from edgeadapt.patch import TrustedKeys
from edgeadapt_device.core import DeviceCore
from edgeadapt_device.core.effects import CommitState
from edgeadapt_device.io.store import GenerationStore
from tests.device import rig
from tests.device.rig import Rig, sealed


def confirmed(bundle: Bundle, store: GenerationStore) -> tuple[Rig, bytes]:
    """A device that confirmed a patch and committed it, and the patch."""
    device, envelope = Rig(bundle, store=store), sealed(bundle, rig.harmless(bundle))
    device.assign()
    device.publish(envelope)
    device.play(rig.frames(90))
    assert [o.state for o in device.outcomes] == ["trial", "confirmed"]
    return device, envelope


def test_a_process_killed_while_its_first_session_is_built_forgets_nothing(
    tiny: Bundle, tmp_path: Path
) -> None:
    device, envelope = confirmed(tiny, GenerationStore(tmp_path))
    learnt = device.device.core.adaptation.known_good.statistics
    device.wait(10.0)
    for _ in range(2):
        store = GenerationStore(tmp_path)
        state, envelopes = store.load()
        core = DeviceCore(
            tiny,
            rig.config(),
            TrustedKeys([rig.KEY.public_key().public_bytes_raw()]),
            rng=np.random.default_rng(),
            outbox="o",
            state=state,
            envelopes=envelopes,
        )
        for effect in core.start(Instant(0.0, rig.START_S)):
            if isinstance(effect, CommitState):
                store.commit(effect.state, effect.envelopes)
    state, _ = GenerationStore(tmp_path).load()
    assert state is not None
    assert state.patch == sha256_hex(envelope)
    np.testing.assert_array_equal(np.frombuffer(state.mean, "<f4"), learnt[0])
    again = Rig(tiny, store=GenerationStore(tmp_path), start_mono_s=500.0)
    assert again.generation == sha256_hex(envelope)[:12]
