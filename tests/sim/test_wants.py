"""Three devices and a cloud see the same unknown thing: one picture crosses the wire."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.errors import ConfigError
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import Sample, Want, decode
from edgeadapt_cloud.config import BundleSection, CloudConfig, CloudSection, SigningSection, WantsConfig
from edgeadapt_cloud.core.jobs.job import ImageArray, JobRequest, JobResult
from edgeadapt_cloud.local import LocalCloud
from edgeadapt_device.config import DeliverySection, DeviceConfig, FlaggingSection
from edgeadapt_device.core.effects import StoreSample
from edgeadapt_device.io.outbox.sqlite import SqliteOutbox
from edgeadapt_device.io.store import GenerationStore
from edgeadapt_device.local import LocalDevice
from edgeadapt_models.compile.tiny import tiny_bundle
from edgeadapt_sim.bench.pair import Pair
from tests.device import rig

NAMES = ("one", "two", "three")
FLEET = "farm"


class NoJobs:
    """There are none."""

    def run(self, request: JobRequest, images: ImageArray, lanes: list[str]) -> JobResult:
        raise ConfigError("no job is due here")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("wants") / "bundle")


def settings(name: str) -> DeviceConfig:
    section = rig.config().device
    return rig.config(
        device=type(section)(name=name, fleet=FLEET),
        flagging=FlaggingSection(enabled=False),
        delivery=DeliverySection(descriptor_pause_s=5.0, want_wait_s=300.0, durability="full"),
    )


class Fleet:
    """Devices with outboxes on a disk and a cloud with a database; any of them can be killed."""

    def __init__(self, folder: Path, bundle: Bundle) -> None:
        self.folder, self.bundle = folder, bundle
        self.mono_s = 0.0
        config = CloudConfig(
            bundle=BundleSection(path="bundle"),
            signing=SigningSection(key="none"),
            cloud=CloudSection(fleet=FLEET, ack_delay_s=0.0),
            wants=WantsConfig(patience_s=100.0),
        )
        self.cloud = LocalCloud(config, bundle, NoJobs(), rig.KEY, folder / "cloud", now=self.now)
        self.devices = {name: self._device(name) for name in NAMES}
        self.sent: Counter[tuple[str, str]] = Counter()
        self.pair = self._join()

    @property
    def now(self) -> Instant:
        return Instant(self.mono_s, rig.START_S + self.mono_s)

    def _device(self, name: str) -> LocalDevice:
        return LocalDevice(
            self.bundle,
            settings(name),
            rng=np.random.default_rng(3),
            now=self.now,
            outbox=SqliteOutbox(self.folder / f"{name}.sqlite", durability="full"),
            store=GenerationStore(self.folder / name),
        )

    def _join(self) -> Pair:
        for name, device in self.devices.items():
            _count(device, name, self.sent)
        return Pair(self.cloud, self.devices, self.now)

    def kill(self, name: str) -> None:
        """A device ends, and another process goes on with its files."""
        self.devices[name] = self._device(name)
        self.pair = self._join()

    def wait(self, seconds: float) -> None:
        self.mono_s += seconds
        self.pair.tick(self.now)

    def see(self, name: str, thing: FloatArray, image: int = 0) -> None:
        """A device comes upon something strange that it would ask about."""
        effect = StoreSample(
            image=rig.frames(1, seed=image)[0],
            segment=0,
            lane="ask",
            entropy=1.0,
            predicted=1,
            generation="base",
            captured_s=self.now.wall_s,
            price_bytes=100_000,
            verdict="unknown",
            p_value=0.01,
            descriptor=thing,
            hold=True,
        )
        performer = self.devices[name]._performer
        performer.perform([effect])
        performer.drain(self.now)

    def waiting(self, name: str) -> int:
        """Samples that are still in a device's outbox."""
        return sum(row.kind == "sample" for row in self.devices[name]._performer._outbox.pending())

    @property
    def pictures(self) -> list[str]:
        """Devices whose pictures the cloud holds."""
        return [sample.device for sample in self.cloud.store.snapshot().samples]


def _count(device: LocalDevice, name: str, sent: Counter[tuple[str, str]]) -> None:
    """Note what a device publishes, on its way to the cloud."""
    real = device.outgoing

    def outgoing() -> list[tuple[str, bytes, bool]]:
        messages = real()
        for topic, _, _ in messages:
            sent[name, topic.rsplit("/", 1)[1]] += 1
        return messages

    device.outgoing = outgoing  # type: ignore[method-assign]


def thing(bundle: Bundle, seed: int, noise: float = 0.0) -> FloatArray:
    """An embedding, and what another device makes of the same thing."""
    rng = np.random.default_rng(seed)
    centre, size = bundle.calibration.prototypes.mean(axis=0), bundle.calibration.prototypes.shape[1]
    direction = rng.normal(size=size)
    other = np.random.default_rng(seed + 100).normal(size=size) * noise
    return np.asarray(centre + direction + other, dtype=np.float32)


def test_three_devices_see_one_thing_and_one_picture_crosses_the_wire(tmp_path: Path, bundle: Bundle) -> None:
    fleet = Fleet(tmp_path, bundle)
    for number, name in enumerate(NAMES):
        fleet.see(name, thing(bundle, 1, 0.1 * number), number)
    fleet.wait(6.0)
    assert [fleet.sent[name, "descriptor"] for name in NAMES] == [1, 1, 1]
    assert sum(fleet.sent[name, "sample"] for name in NAMES) == 1
    assert len(fleet.pictures) == 1
    fleet.wait(1.0)
    assert [fleet.waiting(name) for name in NAMES] == [0, 0, 0], "the others have been told to let theirs go"
    fleet.see("two", thing(bundle, 2))
    fleet.wait(6.0)
    assert sorted(fleet.pictures)[-1] == "two"
    assert len(fleet.pictures) == 2


def test_it_is_one_picture_too_when_either_side_is_killed_in_between(tmp_path: Path, bundle: Bundle) -> None:
    fleet = Fleet(tmp_path, bundle)
    fleet.see("one", thing(bundle, 1))
    fleet.see("two", thing(bundle, 1, 0.1))
    fleet.kill("one")
    fleet.cloud.restart(fleet.now)
    fleet.wait(6.0)
    fleet.cloud.restart(fleet.now)
    fleet.see("three", thing(bundle, 1, 0.2))
    fleet.kill("two")
    fleet.wait(6.0)
    fleet.kill("three")
    fleet.wait(301.0)  # what was lost with a process is asked about once more
    fleet.wait(6.0)
    assert len(fleet.pictures) == 1
    assert [fleet.waiting(name) for name in NAMES] == [0, 0, 0]


def test_when_the_one_that_was_chosen_vanishes_another_sends_its_own(tmp_path: Path, bundle: Bundle) -> None:
    fleet = Fleet(tmp_path, bundle)
    fleet.see("one", thing(bundle, 1))
    lost: list[bytes] = []
    one = fleet.devices["one"]
    real = one.outgoing

    def swallow() -> list[tuple[str, bytes, bool]]:
        messages = real()
        kept = [m for m in messages if not isinstance(decode(m[1]), Sample)]
        lost.extend(m[1] for m in messages if m not in kept)
        return kept

    one.outgoing = swallow  # type: ignore[method-assign]
    fleet.wait(6.0)
    fleet.see("two", thing(bundle, 1, 0.1))
    fleet.wait(6.0)
    assert lost
    assert fleet.pictures == []
    fleet.wait(101.0)
    assert fleet.pictures == ["two"]


def test_an_answer_that_is_lost_is_given_again(tmp_path: Path, bundle: Bundle) -> None:
    fleet = Fleet(tmp_path, bundle)
    real = fleet.cloud.outgoing
    fleet.cloud.outgoing = lambda: [  # type: ignore[method-assign]
        message for message in real() if not isinstance(decode(message[1]), Want)
    ]
    fleet.see("one", thing(bundle, 1))
    fleet.wait(6.0)
    assert fleet.pictures == []
    fleet.cloud.outgoing = real  # type: ignore[method-assign]
    fleet.wait(301.0)
    fleet.wait(6.0)
    assert fleet.pictures == ["one"]
    assert fleet.sent["one", "descriptor"] == 2
