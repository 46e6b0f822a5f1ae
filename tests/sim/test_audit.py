"""A real device and a real cloud: the audit's estimate, held against what nobody but the test knows."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.wire import Verdict
from edgeadapt_cloud.adapt import Adapter, LabelledSource, Networks
from edgeadapt_cloud.cli import group
from edgeadapt_cloud.config import BundleSection, CloudConfig, CloudSection, JobConfig, SigningSection
from edgeadapt_cloud.io.report import Report
from edgeadapt_cloud.local import LocalCloud
from edgeadapt_device.config import BudgetSection, FlaggingSection
from edgeadapt_device.core.effects import Predicted
from edgeadapt_device.local import LocalDevice
from edgeadapt_models.compile import tiny_bundle, tiny_images, tiny_module
from edgeadapt_models.train.split import Labelled
from edgeadapt_sim.bench.pair import Pair
from tests.cloud.adapt.conftest import SETTINGS, Images, Oracle, veiled
from tests.device import rig

CLEAN, MOST = 60, 1500
STRANGE: tuple[Verdict, ...] = ("unknown", "unreliable")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("audit") / "bundle")


def adapter(bundle: Bundle, images: Images, labels: np.ndarray) -> Adapter:
    """Its teacher is right about these images, and about the source."""
    source_images, source_labels = tiny_images(1200, seed=1)
    source = LabelledSource(
        Labelled(source_images[:800], source_labels[:800]), Labelled(source_images[800:], source_labels[800:])
    )
    known = np.concatenate([images, source.holdout.images]), np.concatenate([labels, source.holdout.labels])
    teaching = msgspec.structs.replace(SETTINGS.teaching, views=1)
    settings = msgspec.structs.replace(SETTINGS, teaching=teaching)
    return Adapter(settings, bundle, source, Networks(tiny_module(), Oracle(*known)))


def settings(folder: Path) -> CloudConfig:
    return CloudConfig(
        bundle=BundleSection(path="bundle"),
        signing=SigningSection(key="none"),
        cloud=CloudSection(fleet=rig.FLEET, ack_delay_s=0.0, state_dir=str(folder)),
        jobs=JobConfig(min_new=300),
    )


def status(folder: Path) -> tuple[Report, str]:
    """What a person and a program are shown."""
    path = folder / "cloud.toml"
    path.write_text(f'[bundle]\npath = "b"\n[signing]\nkey = "k"\n[cloud]\nstate_dir = "{folder}"\n')
    shown = [
        CliRunner().invoke(group, ["status", "--config", str(path), *more], catch_exceptions=False)
        for more in (["--json"], [])
    ]
    return msgspec.json.decode(shown[0].stdout, type=Report), " ".join(shown[1].stdout.split())


def test_the_audits_estimate_covers_the_truth(tmp_path: Path, bundle: Bundle) -> None:
    images, labels = tiny_images(MOST, seed=5)
    order = np.random.default_rng(1).permutation(MOST)
    images, labels = images[order], labels[order]
    images[CLEAN:] = veiled(images[CLEAN:])
    device_config = rig.config(
        flagging=FlaggingSection(audit_chance=0.3, audit_share=0.5),
        budget=BudgetSection(bytes_per_hour=400_000_000, bytes_per_day=4_000_000_000, burst_bytes=4_000_000),
    )
    now = Instant(0.0, rig.START_S)
    cloud = LocalCloud(
        settings(tmp_path), bundle, adapter(bundle, images, labels), rig.KEY, tmp_path, now=now
    )
    device = LocalDevice(bundle, device_config, rng=np.random.default_rng(3), now=now)
    pair = Pair(cloud, {rig.NAME: device}, now)
    answers: list[Predicted] = []
    for number, image in enumerate(images):
        if any(row.samples_at_job for row in cloud.core.cohorts.rows.values()):
            break
        now = Instant(number / 10, rig.START_S + number / 10)
        answers.append(pair.step({rig.NAME: image}, now)[rig.NAME])
        if number == CLEAN:
            report, text = status(tmp_path)
            assert all(not row.audit for row in report.cohorts)
            assert "no estimate yet" in text
    cloud.close()

    report, text = status(tmp_path)
    (job,) = report.jobs
    (found,) = next(row.audit for row in report.cohorts if row.cohort == job.cohort)
    there = answers[-1].segment
    seen = [
        (answer, label) for answer, label in zip(answers, labels, strict=False) if answer.segment == there
    ]
    strange = np.array([answer.verdict in STRANGE for answer, _ in seen])
    right = np.array([answer.label == label for answer, label in seen])
    assert found.generation == "base"
    assert found.strange.samples > 50
    assert found.right.low <= right[~strange].mean() <= found.right.high, (found, right[~strange].mean())
    assert found.strange.low <= strange.mean() <= found.strange.high, (found, strange.mean())
    assert found.right.high - found.right.low < 0.25
    assert f"{100 * found.right.value:.0f} % ({100 * found.right.low:.0f} to" in text
