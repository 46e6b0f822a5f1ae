"""A whole device and a whole service that eat garbage; files of a device that the disk has bitten."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeadapt.bundle import Bundle, read_folder
from edgeadapt.bundle.bundle import MANIFEST_NAME
from edgeadapt.errors import BundleError, ConfigError, TransportError
from edgeadapt.wire import encode, topics
from edgeadapt.wire.examples import EXAMPLES, smallest
from edgeadapt_device.io.outbox.sqlite import SqliteOutbox
from edgeadapt_device.io.store import GenerationStore
from tests.cloud.fleet import FLEET as CLOUD_FLEET
from tests.cloud.fleet import at, local
from tests.core.bundles import files
from tests.device import rig
from tests.device.rig import Rig
from tests.fuzz.mutate import mutated, restructured

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
_DOWN = [topics.down(rig.FLEET, rig.NAME, kind) for kind in topics.DOWN_KINDS]
_DOWN += [topics.cloud_status(rig.FLEET), topics.patch(rig.FLEET, "c1", "stable"), "nonsense"]
_UP = [topics.up(CLOUD_FLEET, "d", kind) for kind in topics.UP_KINDS]


def messages(rng: np.random.Generator) -> bytes:
    """Something between a message and garbage."""
    example = EXAMPLES[int(rng.integers(0, len(EXAMPLES)))]
    data = encode(example if rng.random() < 0.5 else smallest(example))
    change = rng.random()
    return data if change < 0.2 else restructured(data, rng) if change < 0.6 else mutated(data, rng)


@QUICK
@given(seed=st.integers(0, 2**32 - 1))
def test_a_device_takes_anything_that_comes_down_and_goes_on(tiny: Bundle, seed: int) -> None:
    rng, device = np.random.default_rng(seed), Rig(tiny)
    for _ in range(40):
        topic = _DOWN[int(rng.integers(0, len(_DOWN)))]
        correlation = rng.bytes(int(rng.integers(0, 80)))
        device.device.deliver(topic, messages(rng), device.now, response_topic=topic, correlation=correlation)
        device.device.outgoing()
    device.device.tick(device.now)
    assert len(device.play(rig.frames(3))) == 3


@QUICK
@given(seed=st.integers(0, 2**32 - 1))
def test_a_service_takes_anything_that_comes_up_and_goes_on(seed: int) -> None:
    rng, service = np.random.default_rng(seed), local()
    for number in range(40):
        service.deliver(_UP[int(rng.integers(0, len(_UP)))], messages(rng), at(number))
    service.connected(at(50))
    service.restart(at(51))
    service.close()


@pytest.fixture(scope="module")
def state_files(tmp_path_factory: pytest.TempPathFactory, tiny: Bundle) -> Path:
    """The folder of a device that has run a patch."""
    folder = tmp_path_factory.mktemp("state")
    device = Rig(tiny, store=GenerationStore(folder))
    device.assign()
    device.publish(rig.sealed(tiny, rig.harmless(tiny)))
    device.play(rig.frames(70))
    device.device.stop()
    return folder


@QUICK
@given(seed=st.integers(0, 2**32 - 1))
def test_a_damaged_state_is_noted_and_a_device_starts(
    tiny: Bundle, state_files: Path, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("damaged")
    for path in sorted(path for path in state_files.rglob("*") if path.is_file()):
        target = folder / path.relative_to(state_files)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(mutated(path.read_bytes(), rng) if rng.random() < 0.7 else path.read_bytes())
    device = Rig(tiny, store=GenerationStore(folder))
    assert len(device.play(rig.frames(2))) == 2


@QUICK
@given(seed=st.integers(0, 2**32 - 1))
def test_a_damaged_outbox_file_opens_or_says_why_not(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    rng, path = np.random.default_rng(seed), tmp_path_factory.mktemp("outbox") / "outbox.sqlite"
    whole = SqliteOutbox(path)
    for message in EXAMPLES:
        if type(message).__name__ in ("Sample", "SignatureReport", "Outcome"):
            whole.store(message)  # type: ignore[arg-type]
    whole.close()
    data = bytearray(path.read_bytes())
    for _ in range(int(rng.integers(1, 40))):
        data[int(rng.integers(0, len(data)))] = int(rng.integers(0, 256))
    path.write_bytes(bytes(data[: int(rng.integers(0, len(data)))] if rng.random() < 0.3 else data))
    try:
        outbox = SqliteOutbox(path)
    except (ConfigError, TransportError):
        return
    try:
        for row in outbox.pending():
            outbox.payload(row.sequence)
    except TransportError:
        pass
    finally:
        outbox.close()


@QUICK
@given(seed=st.integers(0, 2**32 - 1))
def test_a_damaged_bundle_folder_is_a_bundle_error(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("bundle")
    made = files()
    bitten = sorted(made)[int(rng.integers(0, len(made)))]
    for name, data in made.items():
        (folder / name).write_bytes(mutated(data, rng) if name == bitten else data)
    changed = (folder / bitten).read_bytes() != made[bitten]
    try:
        read_folder(folder)
    except BundleError:
        return
    # Spaces in a manifest change its digest, and nothing else.
    assert not changed or bitten == MANIFEST_NAME
