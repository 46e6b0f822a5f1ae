"""The study of the device runtime on a tiny bundle: every part runs, and arms that are compared agree."""

from __future__ import annotations

import io
import json
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from rich.console import Console

from edgeadapt.bundle import Bundle, read_folder
from edgeadapt.errors import ConfigError
from edgeadapt_models.compile import tiny_bundle, tiny_images
from edgeadapt_models.compile.write import write_folder
from edgeadapt_sim.bench.device.arms import engine_steps, other_values
from edgeadapt_sim.bench.device.bare import bare
from edgeadapt_sim.bench.device.bundles import Prepared, write_bare
from edgeadapt_sim.bench.device.footprint import Footprint, Memory
from edgeadapt_sim.bench.device.networks import Network, network, pictures
from edgeadapt_sim.bench.device.output import show, write
from edgeadapt_sim.bench.device.study import ARMS, ArmFigures, Case, DevicePlan, measure, pieces
from edgeadapt_sim.bench.device.swaps import Apply, Gap
from edgeadapt_sim.bench.device.targets import verdicts
from edgeadapt_sim.bench.device.timing import frames_for, race, ratios
from tests.device.io.engines.bundles import files_of, with_tflite

PLAN = DevicePlan(rounds=2, seconds=0.005, settle_frames=20, swaps=2, starts=1, memory_frames=10)
FRAMES = tiny_images(20, seed=5)[0]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The tiny model for both runtimes, as `prepare` leaves a network."""
    folder = tmp_path_factory.mktemp("bench")
    bundle = with_tflite(tiny_bundle(folder / "tiny"))
    made = Prepared(folder, Network("tiny", 28, 20))
    write_folder(files_of(bundle), made.plain)
    write_folder(files_of(bundle), made.with_slots("float32"))
    write_bare(made)
    return made


@pytest.fixture(scope="module")
def bundle(prepared: Prepared) -> Bundle:
    return read_folder(prepared.plain)


@pytest.mark.parametrize("runtime", ["onnxruntime", "tflite"])
def test_what_is_compared_computes_the_same(prepared: Prepared, bundle: Bundle, runtime: str) -> None:
    artifact = bundle.artifact(runtime)
    steps = engine_steps(prepared, artifact)
    assert list(steps) == ["base", "patched", "slots"]
    plain = bare(prepared.bare(artifact))
    for frame in FRAMES[:3]:
        outputs = plain(frame)
        assert isinstance(outputs, list)
        logits = next(output for output in outputs if output.shape == (1, 10))
        np.testing.assert_allclose(steps["base"](frame).logits, logits, rtol=1e-4, atol=1e-3)  # type: ignore[attr-defined]
        assert np.abs(steps["patched"](frame).logits - logits).max() > 1e-2  # type: ignore[attr-defined]


def test_a_bare_file_holds_no_probe(prepared: Prepared, bundle: Bundle) -> None:
    from ai_edge_litert.interpreter import Interpreter

    path = prepared.bare(bundle.artifact("tflite"))
    assert list(Interpreter(model_path=str(path)).get_signature_list()) == ["fast"]
    graph = onnx.load(prepared.bare(bundle.artifact("onnxruntime"))).graph
    assert {node.op_type for node in graph.node} & {"Conv", "BatchNormalization"} == {"Conv"}
    assert [output.name for output in graph.output] == ["logits", "embedding"]


def test_other_values_stay_in_bounds_and_change_every_slot(bundle: Bundle) -> None:
    values = other_values(bundle)
    for slot in bundle.manifest.slots:
        value = values[slot.name]
        assert value.shape == slot.shape
        assert (value >= slot.lower).all()
        assert (value <= slot.upper).all()
        assert np.abs(value - bundle.slots[slot.name]).max() > 0


@pytest.mark.integration
def test_a_case_is_measured_whole(prepared: Prepared, bundle: Bundle) -> None:
    case = measure(PLAN, prepared, bundle, bundle.artifact("tflite"), FRAMES)
    assert [arm.arm for arm in case.arms] == list(ARMS)
    assert case.arm("bare").ratio == 1.0
    numbers = [value for arm in case.arms for value in msgspec.structs.astuple(arm)[1:]]
    numbers += [case.young_ratio, case.apply.seconds, case.apply.write_s, case.gap.worst, case.gap.median]
    foot = case.footprint
    numbers += [foot.bare_start_s, foot.agent_start_s]
    for memory in (foot.bare, foot.trimmed, foot.agent, foot.single):
        assert 10e6 < memory.own <= memory.steady <= memory.peak < 1e9
    assert all(0 < number < 1e4 for number in numbers)
    assert case.apply.write_s < case.apply.seconds


def test_arms_take_turns_and_score_the_same_frames() -> None:
    seen: dict[str, list[int]] = {"one": [], "two": [], "three": []}
    order: list[str] = []

    def arm(name: str) -> object:
        def step(frame: np.ndarray) -> None:
            seen[name].append(int(frame.ravel()[0]))
            if not order or order[-1] != name:
                order.append(name)

        return step

    frames = np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1)
    laps = race({name: arm(name) for name in seen}, frames, rounds=4, per_round=5)  # type: ignore[misc]
    assert seen["one"] == seen["two"] == seen["three"]
    assert len(seen["one"]) == 4 * (5 + 1)
    # Who was last in a round begins the next but one, so two turns of the same arm may run into one.
    assert order == [
        "one",
        "two",
        "three",
        "two",
        "three",
        "one",
        "three",
        "one",
        "two",
        "one",
        "two",
        "three",
    ]
    for lap in laps.values():
        assert lap.thread_s.shape == lap.process_s.shape == lap.wall_s.shape == (4,)
    assert frames_for(arm("one"), frames, 0.001) >= 2  # type: ignore[arg-type]


def test_ratios_are_of_medians_and_their_spread_within_rounds() -> None:
    base = np.array([1.0, 2.0, 4.0])
    assert ratios(np.array([2.0, 2.0, 8.0]), base) == (1.0, 1.5, 2.0)


def case(side: int = 32, agent: float = 1.1, **changes: object) -> Case:
    arms = tuple(
        ArmFigures(name, 0.001, 0.001, ratio, ratio - 0.01, ratio + 0.01, ratio, ratio)
        for name, ratio in zip(ARMS, (1.0, 1.0, 1.01, 1.019, agent), strict=True)
    )
    bare_memory, agent_memory = (
        Memory(50_000_000, 40_000_000, 60_000_000),
        Memory(70_000_000, 50_000_000, 99_000_000),
    )
    foot = Footprint(bare_memory, bare_memory, agent_memory, agent_memory, 0.2, 0.5)
    plain = Case(
        "net", side, "onnxruntime", "float32", 10, arms, 1.5, Apply(0.02, 0.001), Gap(1.9, 1.2, 0.001), foot
    )
    return msgspec.structs.replace(plain, **changes)


def test_targets_go_by_the_size_of_a_frame() -> None:
    assert all(verdict.met for verdict in verdicts([case()]))
    missed = [
        verdict.what for verdict in verdicts([case(224), case(gap=Gap(2.1, 1.0, 0.001))]) if not verdict.met
    ]
    assert missed == ["whole agent", "gap in a swap"]


def test_what_is_left(tmp_path: Path) -> None:
    cases = (case(), case(224))
    write(cases, PLAN, 3.5, (0.1, 0.2), tmp_path / "out")
    document = json.loads((tmp_path / "out" / "device.json").read_text())
    assert document["arguments"]["rounds"] == 2
    assert document["cases"][1]["arms"][4]["ratio"] == 1.1
    assert [verdict["met"] for verdict in document["verdicts"]].count(False) == 1
    assert (tmp_path / "out" / "device.png").stat().st_size > 10_000
    text = io.StringIO()
    show(cases, (9.0, 9.0), Console(file=text, width=120))
    lines = " ".join(text.getvalue().split())
    assert "13 of 14 targets met" in lines
    assert (
        "missed: net 224x224, onnxruntime float32: whole agent 1.1 x bare, the target is 1.05 at most"
        in lines
    )
    assert "other work was running" in lines


def test_the_networks_are_known_and_their_frames_are_real() -> None:
    assert network("resnet18").side == 224
    with pytest.raises(ConfigError, match="unknown network 'lenet'; known: resnet8"):
        network("lenet")
    found = pictures(32, 5, split="test")
    assert found.images.shape == (5, 32, 32, 3)
    assert len(set(found.labels.tolist())) > 1
    assert len(pieces(DevicePlan())) == 16
