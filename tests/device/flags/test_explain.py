"""From a device that meets strange things to what a person reads about it. Every part is real."""

from __future__ import annotations

import json
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgeadapt.bundle import Bundle
from edgeadapt.wire import Descriptors, Sample, Want
from edgeadapt_device.agent import Agent
from edgeadapt_device.cli import group
from edgeadapt_device.config import BudgetSection, DeliverySection, FlaggingSection, PrivacySection
from edgeadapt_device.core.events import Image
from edgeadapt_device.core.uplink.asking import ITEM_BYTES
from edgeadapt_device.flags.journal import FlagJournal, read_flags
from edgeadapt_device.flags.lines import FateLine, FrameLine, WindowLine
from edgeadapt_device.flags.story import stories, text
from edgeadapt_device.io.outbox.read import read_rows
from tests.device import rig

DAY = time.strftime("%Y-%m-%d", time.localtime(rig.START_S))


def strange(count: int, seed: int = 0) -> Image:
    """Frames of one strange thing: a bright disk in the dark, never quite the same."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:28, :28]
    disk = ((rows - 14) ** 2 + (columns - 14) ** 2 < 60) * 255.0
    noisy = np.clip(disk[None] + rng.normal(0, 3, (count, 28, 28)), 0, 255)
    return np.asarray(noisy[..., None], np.uint8)


@pytest.fixture(scope="module")
def told(tiny: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of a device that was at home, met a strange thing, asked, and was answered."""
    folder = tmp_path_factory.mktemp("told")
    device = asked_about(tiny, folder, wanted=True)
    assert [m for m in device.received if isinstance(m, Sample) and m.lane == "ask"], "nothing was asked"
    return folder


def asked_about(bundle: Bundle, folder: Path, *, wanted: bool) -> rig.Rig:
    """A device that asked about something strange; the server wants all that it is told of, or nothing."""
    journal = FlagJournal(folder)
    settings = rig.config(
        flagging=FlaggingSection(audit_chance=0.2), delivery=DeliverySection(descriptor_pause_s=0.0)
    )
    device = rig.Rig(bundle, settings, journal=journal)
    device.play(rig.frames(300))
    mixed = rig.frames(240, seed=5)
    mixed[::12] = strange(20)
    device.play(mixed)
    device.play(rig.frames(200, seed=6))
    for message in [m for m in device.received if isinstance(m, Descriptors)]:
        those = tuple(item.sample for item in message.items)
        yes, no = (those, ()) if wanted else ((), those)
        device.down("want", Want(outbox=message.outbox, wanted=yes, declined=no))
    device.wait(5.0)
    device.sync()
    journal.close()
    return device


def explain(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(group, ["explain", "--state-dir", str(folder), *arguments])


def test_an_unknown_frame_is_explained_from_its_scores_to_its_cost(told: Path, tiny: Bundle) -> None:
    found = explain(told, "--unknown", "--last", "5000", "--json")
    assert found.exit_code == 0
    asked = [s for s in json.loads(found.stdout) if any(line[0]["lane"] == "ask" for line in s["samples"])]
    shown = explain(told, "--frame", str(asked[-1]["frame"]))

    assert shown.exit_code == 0
    for part in (
        f"frame {asked[-1]['frame']}: UNKNOWN",
        "strange: of known frames",
        "strange below",
        "together",
        "adapted           yes, by its own statistics",
        "still strange: quarantined, kind ",
        "a question about its kind was asked with it",
        "lane ask, for kind ",
        "(png)",
        "of an hour's budget",
        "held until the server wants it",
        "wanted",
        "acknowledged",
    ):
        assert unwrapped(part) in unwrapped(shown.stdout), part
    assert len(shown.stdout.splitlines()) < 30


def test_what_the_server_declined_has_cost_its_descriptor_alone(tiny: Bundle, tmp_path: Path) -> None:
    device = asked_about(tiny, tmp_path, wanted=False)
    assert not any(isinstance(m, Sample) and m.lane == "ask" for m in device.received)
    told = [item for m in device.received if isinstance(m, Descriptors) for item in m.items]
    shown = unwrapped(explain(tmp_path, "--sample", str(told[0].sample)).stdout)
    assert "declined" in shown
    assert f"cost about {ITEM_BYTES} bytes, to tell the server of it; its own " in shown
    assert f"{told[0].size_bytes:,} bytes (png) did not leave" in shown
    assert shown.count("of an hour's budget") == shown.count("kept to be sent"), (
        "what was drawn for the audit"
    )


def unwrapped(text: str) -> str:
    """What is said, wherever lines end."""
    return " ".join(text.split())


def test_no_line_is_wider_than_a_terminal(told: Path) -> None:
    shown = explain(told, "--last", "5000").stdout
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("policy", ["facility-location", "entropy-band"])
def test_what_the_adapt_lane_could_not_pay_for_is_told_by_window(
    tiny: Bundle, tmp_path: Path, policy: str
) -> None:
    """A policy that chooses frame by frame has a window for each, and they share lines."""
    journal = FlagJournal(tmp_path)
    flagging = FlaggingSection(policy=policy, window_frames=50, min_drift=0.0, audit_chance=0.0, clusters=0)
    budget = BudgetSection(bytes_per_hour=40_000, burst_bytes=20_000, debt_bytes=0)
    device = rig.Rig(tiny, rig.config(flagging=flagging, budget=budget), journal=journal)
    device.play(rig.frames(600))
    journal.close()
    windows = [line for line in read_flags(tmp_path) if isinstance(line, WindowLine)]
    seconds = device.now.mono_s
    assert 3 <= len(windows) <= seconds / 10.0
    assert sum(line.windows for line in windows) >= (11 if policy == "facility-location" else 100) - 1
    assert all(line.chosen < line.held <= line.last - line.first + 1 for line in windows)
    left_out = sum(line.held - line.chosen for line in windows)
    shown = unwrapped(explain(tmp_path, "--last", "1").stdout)
    assert f"not affordable: the adapt lane had no bytes for all frames that it held until {DAY}" in shown
    assert f"{left_out:,} of {sum(line.held for line in windows):,} were let go" in shown
    assert "not affordable" not in explain(tmp_path, "--unknown", "--last", "1").stdout
    told_of = {line.frame for line in read_flags(tmp_path) if isinstance(line, FrameLine)}
    frame = next(n for n in range(windows[1].first, windows[1].last) if n not in told_of)
    one = explain(tmp_path, "--frame", str(frame))
    assert one.exit_code == 1
    assert f"frames {windows[1].first} to {windows[1].last}" in one.stderr


def test_a_lane_that_could_pay_for_all_that_it_held_has_left_nothing_out(
    tiny: Bundle, tmp_path: Path
) -> None:
    journal = FlagJournal(tmp_path)
    flagging = FlaggingSection(window_frames=50, min_drift=0.0, audit_chance=0.0, clusters=0)
    device = rig.Rig(tiny, rig.config(flagging=flagging), journal=journal)
    device.play(rig.frames(300))
    journal.close()
    assert [m for m in device.received if isinstance(m, Sample) and m.lane == "adapt"]
    assert not [line for line in read_flags(tmp_path) if isinstance(line, WindowLine)]


def test_a_window_that_ends_with_the_device_is_told_of_too(tiny: Bundle, tmp_path: Path) -> None:
    with Agent(
        tiny,
        device={"state_dir": str(tmp_path), "name": "porch"},
        mqtt={"enabled": True, "host": "127.0.0.1", "port": 9},
        flagging={"min_drift": 0.0, "window_frames": 4096, "window_s": 3600.0, "audit_chance": 0.0},
        budget={"bytes_per_hour": 20_000, "burst_bytes": 8_000, "debt_bytes": 0},
    ) as agent:
        agent.infer(rig.frames(40))
    (window,) = [line for line in read_flags(tmp_path) if isinstance(line, WindowLine)]
    assert (window.first, window.last) == (0, 39)
    stored = [row for row in read_rows(tmp_path / "outbox.sqlite", 0.0) if row.lane == "adapt"]
    assert window.chosen == len(stored) < window.held


def test_a_sample_leads_to_its_frame_and_an_audit_says_its_chance(told: Path) -> None:
    all_of_them = json.loads(explain(told, "--last", "5000", "--json").stdout)
    sample = next(line[0] for story in all_of_them for line in story["samples"] if line[0]["lane"] == "audit")
    shown = explain(told, "--sample", str(sample["sequence"]))

    assert shown.exit_code == 0
    assert f"frame {sample['frame']}:" in shown.stdout
    assert "lane audit, drawn with a chance of" in shown.stdout
    assert sample["cost_bytes"] > sample["size_bytes"] > 100


def test_the_last_ones_are_the_newest_and_no_more(told: Path) -> None:
    shown = explain(told, "--last", "2").stdout
    frames = [int(line.split()[1].rstrip(":")) for line in shown.splitlines() if line.startswith("frame ")]
    every = json.loads(explain(told, "--last", "5000", "--json").stdout)

    assert frames == [story["frame"] for story in every[-2:]]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("--frame", "999999"), "does not know frame 999999"), (("--sample", "99999"), "does not know sample")],
)
def test_what_is_not_there_is_said_with_exit_code_1(
    told: Path, arguments: tuple[str, ...], says: str
) -> None:
    found = explain(told, *arguments)
    assert found.exit_code == 1
    assert says in found.stderr
    assert json.loads(explain(told, *arguments, "--json").stdout) == []


def test_a_device_that_never_flagged_says_so(tmp_path: Path) -> None:
    found = explain(tmp_path)
    assert found.exit_code == 1
    assert "nothing was flagged yet" in found.stderr
    assert "is not there" in found.stderr


def test_help_teaches_the_words(tmp_path: Path) -> None:
    shown = CliRunner().invoke(group, ["explain", "--help"]).stdout
    for word in ("familiar", "informative", "shifted", "unknown", "unreliable", "--unknown --last 3"):
        assert word in shown


def test_a_suspect_that_was_the_domain_is_told_so(tiny: Bundle, tmp_path: Path) -> None:
    """Dusk makes known frames strange; once model and thresholds have adapted, they are normal."""
    journal = FlagJournal(tmp_path)
    device = rig.Rig(tiny, rig.config(flagging=FlaggingSection(enabled=False)), journal=journal)
    device.play(rig.frames(200))
    device.play(rig.frames(400, seed=8, level=0.6))
    journal.close()
    flagging = device.device.core.flagging

    found = [unwrapped(text(story)) for story in stories(read_flags(tmp_path))]
    assert flagging.covariate > 0
    assert any("SHIFTED" in story and "so it was the domain" in story for story in found)


def test_an_agent_keeps_the_journal_in_its_state_folder_whether_it_runs_or_not(
    tiny: Bundle, tmp_path: Path
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (40, 28, 28, 1)).astype(np.uint8)
    with Agent(tiny, device={"state_dir": str(tmp_path), "name": "agent"}) as agent:
        agent.infer(rig.frames(200))
        verdicts = agent.infer(noise).verdicts
        agent.infer(rig.frames(200, seed=3))
        status = agent.status()
    shown = explain(tmp_path, "--last", "200")

    assert {"shifted", "unknown"} & set(verdicts)
    assert sum(msgspec.structs.astuple(status.verdicts)) == status.frames == 440
    assert status.window.split(":")[0] in ("familiar", "informative", "shifted", "unknown")
    assert shown.exit_code == 0
    assert "UNKNOWN" in shown.stdout or "SHIFTED" in shown.stdout
    assert "cost              nothing" in shown.stdout


def test_what_is_chosen_when_a_device_stops_is_explained_too(tiny: Bundle, tmp_path: Path) -> None:
    with Agent(
        tiny,
        device={"state_dir": str(tmp_path), "name": "porch"},
        mqtt={"enabled": True, "host": "127.0.0.1", "port": 9},
        flagging={"min_drift": 0.0, "window_frames": 4096, "window_s": 3600.0, "audit_chance": 0.0},
    ) as agent:
        agent.infer(rig.frames(40))
    rows = [row for row in read_rows(tmp_path / "outbox.sqlite", 0.0) if row.lane == "adapt"]
    assert rows, "the window was cut short, and its best were stored"
    for row in rows:
        shown = explain(tmp_path, "--sample", str(row.sequence))
        assert shown.exit_code == 0
        assert "lane adapt" in shown.stdout


@pytest.mark.parametrize(
    ("flagging", "privacy", "fate"),
    [
        (FlaggingSection(), PrivacySection(mode="statistics"), "barred"),
        (FlaggingSection(enabled=False), PrivacySection(), "barred"),
        (FlaggingSection(adapt_share=1.0, ask_share=0.0, audit_share=0.0), PrivacySection(), "dear"),
    ],
)
def test_a_question_that_privacy_forbids_is_not_said_to_wait_for_the_budget(
    tiny: Bundle, tmp_path: Path, flagging: FlaggingSection, privacy: PrivacySection, fate: str
) -> None:
    journal = FlagJournal(tmp_path)
    device = rig.Rig(tiny, rig.config(flagging=flagging, privacy=privacy), journal=journal)
    device.play(rig.frames(300))
    mixed = rig.frames(240, seed=5)
    mixed[::12] = strange(20)
    device.play(mixed)
    device.play(rig.frames(200, seed=6))
    journal.close()
    fates = [line for line in read_flags(tmp_path) if isinstance(line, FateLine)]
    found = {line.fate for line in fates}
    assert fate in found
    assert not found & ({"asked", "dear", "barred"} - {fate})
    seconds = device.now.mono_s
    begun = {line.frame for line in fates}
    assert len(begun) <= 64 + seconds + 1, "no more stories than the journal may begin"
