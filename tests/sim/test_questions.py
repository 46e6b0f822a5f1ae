"""From the first strange frame in an unknown domain to its picture in the cloud. Every part is real."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.wire import Sample
from edgeadapt_device.config import FlaggingSection
from edgeadapt_device.core.effects import Predicted
from edgeadapt_models.compile.tiny import tiny_bundle
from tests.device import rig
from tests.device.flags.test_explain import strange
from tests.sim.test_embeddings import Field

DUSK, THINGS = 0.5, 30


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("questions") / "bundle")


def evening(field: Field, name: str) -> Sequence[Predicted]:
    """A camera at home, then at dusk, where something strange comes by: what was said of that."""
    field.play(name, rig.frames(200))
    field.play(name, rig.frames(300, seed=8, level=DUSK))
    mixed = rig.frames(10 * THINGS, seed=9, level=DUSK)
    mixed[::10] = strange(THINGS)
    said = field.play(name, mixed)[::10]
    field.play(name, rig.frames(160, seed=10, level=DUSK))
    field.wait(10.0)
    return said


def disk(field: Field, name: str) -> int:
    """The kind that the strange thing became, the largest by far."""
    kinds = field.devices[name].core.flagging.quarantine.records
    largest = max(kinds, key=lambda kind: kind.members)
    assert largest.members >= THINGS
    assert largest.asked_members, "it was asked about"
    return largest.number


def questions(field: Field, name: str) -> list[Sample]:
    return [sample for sample in field.sent[name] if sample.lane == "ask"]


def test_what_is_strange_in_a_new_domain_is_asked_about_and_shown_once_by_a_whole_fleet(
    bundle: Bundle,
) -> None:
    field = Field(bundle, ("one", "two"), flagging=FlaggingSection(audit_chance=0.0))
    said = evening(field, "one")
    assert {answer.verdict for answer in said} == {"unknown"}, "by thresholds of its own domain"
    assert {answer.segment for answer in said} == {1}
    assert {answer.generation for answer in said} == {"base"}
    shown = [sample for sample in questions(field, "one") if sample.cluster == disk(field, "one")]
    assert len(shown) == 1
    assert (shown[0].segment, shown[0].verdict, shown[0].codec) == (1, "unknown", "png")
    embedding = np.frombuffer(shown[0].descriptor, "<f2")
    assert not embedding.size, "a picture goes without its descriptor"
    assert not any(sample.verdict == "unknown" for sample in field.sent["one"] if sample.lane == "adapt")

    evening(field, "two")
    states = {(row.device, row.state) for row in field.cloud.store.snapshot().wants}
    assert ("two", "declined") in states
    again = [sample.cluster for sample in questions(field, "two")]
    assert disk(field, "two") not in again, "the cloud had a picture of it"
    assert all(device.view(field.now).outbox_held == 0 for device in field.devices.values())
