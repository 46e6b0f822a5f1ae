"""A device whose pictures are too dear tells the cloud what it can without them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.errors import ConfigError
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import Sample, decode
from edgeadapt_cloud.config import BundleSection, CloudConfig, CloudSection, SigningSection
from edgeadapt_cloud.core.jobs.job import ImageArray, JobRequest, JobResult
from edgeadapt_cloud.local import LocalCloud
from edgeadapt_device.config import BudgetSection, DeliverySection, FlaggingSection
from edgeadapt_device.core.effects import Predicted, StoreSample
from edgeadapt_device.core.events import Image
from edgeadapt_device.local import LocalDevice
from edgeadapt_models.compile.tiny import tiny_bundle
from edgeadapt_sim.bench.pair import Pair
from tests.device import rig

NAMES = ("one", "two", "three")
# Noise does not compress: a picture is never below its 784 bytes, an embedding takes 24.
NOISE: Image = np.random.default_rng(5).integers(0, 256, (300, 28, 28, 1), dtype=np.uint8)
DEAR_BYTES = 700


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("embeddings") / "bundle")


class NoJobs:
    """Nothing that can teach comes here."""

    def run(self, request: JobRequest, images: ImageArray, lanes: list[str]) -> JobResult:
        raise ConfigError("no job is due here")


class Field:
    """Devices and a cloud; `sent` are the samples that went up, by device."""

    def __init__(self, bundle: Bundle, names: tuple[str, ...], **sections: object) -> None:
        self.mono_s, self.sent = 0.0, {name: list[Sample]() for name in names}
        config = CloudConfig(
            bundle=BundleSection(path="bundle"),
            signing=SigningSection(key="none"),
            cloud=CloudSection(fleet=rig.FLEET, ack_delay_s=0.0),
        )
        self.cloud = LocalCloud(config, bundle, NoJobs(), rig.KEY, now=self.now)
        self.devices = {name: self._device(bundle, name, sections) for name in names}
        self.pair = Pair(self.cloud, self.devices, self.now)

    @property
    def now(self) -> Instant:
        return Instant(self.mono_s, rig.START_S + self.mono_s)

    def _device(self, bundle: Bundle, name: str, sections: Mapping[str, object]) -> LocalDevice:
        section = msgspec.structs.replace(rig.config().device, name=name)
        delivery = DeliverySection(descriptor_pause_s=5.0, want_wait_s=300.0)
        settings = rig.config(device=section, delivery=delivery, **sections)
        device = LocalDevice(bundle, settings, rng=np.random.default_rng(3), now=self.now)
        real = device.outgoing

        def outgoing() -> list[tuple[str, bytes, bool]]:
            messages = real()
            said = [decode(payload) for topic, payload, _ in messages if topic.endswith("/up/sample")]
            self.sent[name] += [message for message in said if isinstance(message, Sample)]
            return messages

        device.outgoing = outgoing  # type: ignore[method-assign]
        return device

    def wait(self, seconds: float) -> None:
        self.mono_s += seconds
        self.pair.tick(self.now)

    def play(self, name: str, images: Image) -> list[Predicted]:
        answers = []
        for image in images:
            self.mono_s += 1.0
            answers.append(self.pair.step({name: image}, self.now)[name])
        return answers

    def ask(self, name: str, embedding: FloatArray, price_bytes: int, wait_s: float = 10.0) -> None:
        """A device comes upon something strange, and pays so much for a question about it."""
        question = StoreSample(
            image=NOISE[0],
            segment=0,
            lane="ask",
            entropy=1.0,
            predicted=1,
            generation="base",
            captured_s=self.now.wall_s,
            price_bytes=price_bytes,
            verdict="unknown",
            descriptor=embedding,
            hold=True,
        )
        performer = self.devices[name]._performer
        performer.perform([question])
        performer.drain(self.now)
        self.wait(wait_s)


def test_what_the_audit_draws_is_known_without_its_pictures(bundle: Bundle) -> None:
    """All the way: frames, lanes, encoder, outbox, link, cloud. They are acknowledged, and teach nothing."""
    flagging = FlaggingSection(audit_chance=1.0, adapt_share=0.0, ask_share=0.0, audit_share=1.0)
    budget = BudgetSection(bytes_per_hour=600_000, burst_bytes=2 * DEAR_BYTES, debt_bytes=0)
    field = Field(bundle, NAMES[:1], flagging=flagging, budget=budget)
    answers = field.play("one", NOISE)
    samples = field.sent["one"]
    assert len(samples) > 30
    assert {(sample.lane, sample.codec) for sample in samples} == {("audit", "none")}
    drawn = {answer.entropy: answer for answer in answers}
    for sample in samples:
        said = drawn[sample.entropy]
        assert (sample.predicted, sample.verdict) == (said.label, said.verdict)
        assert 0.0 < sample.chance <= 1.0
        assert len(sample.descriptor) == 2 * bundle.calibration.prototypes.shape[1]
    view = field.devices["one"].view(field.now)
    assert (view.uploaded, view.outbox_rows) == (len(samples), 0)
    stored = field.cloud.store.snapshot().samples
    assert [(row.predicted, row.chance) for row in stored] == [(s.predicted, s.chance) for s in samples]
    cohort = next(iter(field.cloud.core.cohorts.rows))
    core = field.cloud.core
    assert (core.pool.count(cohort), core.pool.newest(cohort, 100)) == (0, [])
    assert len(core.pool.draws(cohort, 1000)) == len([s for s in samples if s.segment == 0])


def test_a_dear_frame_teaches_what_pictures_cost(bundle: Bundle) -> None:
    """Or the next one would be paid for even less, and there would never be a picture again."""
    field = Field(bundle, NAMES[:1])
    costs = field.devices["one"].core._uploads._selection.costs
    before = costs.mean_bytes
    field.ask("one", np.ones(12, np.float32), DEAR_BYTES)
    assert [sample.codec for sample in field.sent["one"]] == ["none"]
    assert costs.mean_bytes > DEAR_BYTES
    assert abs(costs.mean_bytes - before) < 300


def test_a_question_without_a_picture_makes_its_thing_known_and_leaves_the_picture_to_another(
    bundle: Bundle,
) -> None:
    """One cannot show it, two can, and then three need not."""
    field, thing = Field(bundle, NAMES), np.arange(12, dtype=np.float32) - 6.0
    field.ask("one", thing, DEAR_BYTES)
    assert [(sample.codec, sample.lane) for sample in field.sent["one"]] == [("none", "ask")]
    assert _things(field) == {("one", "declined")}
    field.ask("two", thing, 5_000)
    assert [sample.codec for sample in field.sent["two"]] == ["png"]
    field.ask("three", thing, 5_000)
    assert field.sent["three"] == []
    assert _things(field) == {("one", "declined"), ("two", "received"), ("three", "declined")}
    assert all(device.view(field.now).outbox_held == 0 for device in field.devices.values())


def test_a_device_that_waited_behind_it_is_asked_for_its_picture(bundle: Bundle) -> None:
    """Both announced the thing at once: the one that was chosen turns out to have no picture to show."""
    field, thing = Field(bundle, NAMES[:2]), np.arange(12, dtype=np.float32) - 6.0
    for name, price_bytes in (("one", DEAR_BYTES), ("two", 5_000)):
        field.ask(name, thing, price_bytes, wait_s=0.0)
    field.wait(10.0)
    assert [sample.codec for sample in field.sent["one"] + field.sent["two"]] == ["none", "png"]
    assert _things(field) == {("one", "declined"), ("two", "received")}


def _things(field: Field) -> set[tuple[str, str]]:
    """What became of every announced sample, all of them of one thing."""
    rows = field.cloud.store.snapshot().wants
    assert len({row.thing for row in rows}) == 1
    return {(row.device, row.state) for row in rows}
