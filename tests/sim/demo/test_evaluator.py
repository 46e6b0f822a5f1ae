"""The evaluator and its baselines on a small stream, with the real runtime."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgeadapt.config import parse
from edgeadapt.errors import TransportError
from edgeadapt.wire import Outcome
from edgeadapt_device.config import DeviceConfig
from edgeadapt_models.data.streams.files import read
from edgeadapt_sim.demo.plan import DemoPlan
from edgeadapt_sim.demo.setup import Prepared, configure, prepare
from edgeadapt_sim.demo.watch.evaluator import Evaluator
from edgeadapt_sim.demo.watch.shadows import Shadows, baseline_config
from edgeadapt_sim.records import Traffic

PLAN = DemoPlan(devices=1, seconds=12, frames_per_second=30)
HEADER = "frame,prediction,entropy,generation,segment,flagged\n"


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    made = prepare(PLAN, tmp_path, lambda text: None)
    configure(PLAN, made, 1883)
    return made


def test_frozen_never_changes_and_statistics_do(prepared: Prepared) -> None:
    paths = prepared.devices[0]
    config = parse(paths.config.read_text(), DeviceConfig, source="device.toml")
    stream = read(paths.stream)
    shadows = Shadows(prepared.bundle, config, stream.frames)
    for _ in range(len(stream.frames)):
        shadows.step()
    frozen, statistics = (shadows.labels[name] == stream.labels for name in ("frozen", "statistics"))
    assert frozen.mean() < statistics.mean()
    again = Shadows(prepared.bundle, config, stream.frames[::-1])
    for _ in range(len(stream.frames)):
        again.step()
    assert np.array_equal(again.labels["frozen"][::-1], shadows.labels["frozen"])
    assert not np.array_equal(again.labels["statistics"][::-1], shadows.labels["statistics"])


def test_baselines_are_offline(prepared: Prepared) -> None:
    config = parse(prepared.devices[0].config.read_text(), DeviceConfig, source="device.toml")
    for name in ("frozen", "statistics"):
        changed = baseline_config(config, "frozen" if name == "frozen" else "statistics")
        assert not changed.mqtt.enabled
        assert not changed.flagging.enabled
        assert changed.statistics.enabled == (name == "statistics")
    kept = msgspec.structs.replace(baseline_config(config, "statistics"), mqtt=config.mqtt)
    assert msgspec.structs.replace(kept, flagging=config.flagging) == config


def test_follows_the_predictions_and_scores_them(prepared: Prepared) -> None:
    paths = prepared.devices[0]
    evaluator = Evaluator(prepared.bundle, paths)
    with pytest.raises(TransportError, match="no frame"):
        evaluator.record(Traffic(0, 0, 0, 0))
    truth = read(paths.stream).labels
    wrong = (truth + 1) % 10
    rows = [f"{n},{(truth if n < 60 else wrong)[n]},0.1,base,0,{n % 2}\n" for n in range(80)]
    paths.predictions.write_text(HEADER + "".join(rows))
    evaluator.catch_up(60.0)
    outcome = Outcome(outbox="o", sequence=1, cohort="c", serial=3, patch="d", state="trial", reason="new")
    evaluator.told(outcome)
    assert evaluator.count == 80
    assert not evaluator.complete
    traffic = evaluator.traffic(5, 100, 20)
    record = evaluator.record(traffic)
    assert record.correct["loop"].tolist() == [True] * 60 + [False] * 20
    assert (record.events[0].frame, record.events[0].patch) == (79, "c #3")
    line = evaluator.line(traffic, {"base": "as installed"})
    assert (line.domain, line.flagged, line.generation) == ("fog:5", 40, "as installed")
    assert line.state == ""  # what was said is about another patch
    assert evaluator.line(traffic, {"base": "c #3"}).state == "trial"
    assert line.accuracy["loop"] == pytest.approx(0.75)
