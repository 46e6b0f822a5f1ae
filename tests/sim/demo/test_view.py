"""The live view, drawn at three widths and as plain lines."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from edgeadapt_sim.demo.view import CohortLine, DeviceLine, Scene, draw, plain_lines, sparkline

_DEVICE = DeviceLine(
    name="camera-1",
    domain="gaussian_noise:5",
    frame=1200,
    frames=9000,
    accuracy={"frozen": 0.312, "statistics": 0.701, "loop": 0.755},
    history=(0.9, 0.3, 0.75),
    flagged=812,
    uploaded=640,
    bytes_up=531_000,
    bytes_down=14_200,
    generation="0 #1",
    state="trial",
)
_COHORT = CohortLine("c-1a2b3c4d-0", 2, 512, 2, 1, "canary", "refused: agreement-gain -0.004 (bound 0)")
_SCENE = Scene("mosquitto", 47.0, 150.0, (_DEVICE,), (_COHORT,), "adapting c-1a2b3c4d-0", ("one", "two"))


def text(scene: Scene, width: int) -> str:
    sink = io.StringIO()
    Console(file=sink, width=width, color_system=None).print(draw(scene, width))
    return sink.getvalue()


@pytest.mark.parametrize("width", [84, 100, 108, 134])
def test_every_width_shows_the_three_accuracies_and_the_uplink(width: int) -> None:
    shown = text(_SCENE, width)
    for part in ("31.2", "70.1", "75.5", "640", "531 kB", "refused", "adapting c-1a2b3c4d-0"):
        assert part in shown
    assert "0 #1" in shown
    assert max(map(len, shown.splitlines())) <= width


def test_a_wide_terminal_shows_history_and_every_counter() -> None:
    shown = text(_SCENE, 150)
    for part in ("gaussian noise 5", "812", "14.2 kB", sparkline(_DEVICE.history), "0 #1 trial"):
        assert part in shown
    assert sparkline(_DEVICE.history) not in text(_SCENE, 120)


def test_only_the_newest_news_are_shown() -> None:
    news = tuple(f"news {number}." for number in range(20))
    shown = text(Scene("iotcore", 1, 2, (), (), "starting", news), 100)
    assert "news 19." in shown
    assert "news 3." not in shown


def test_plain_lines_name_every_device_and_the_cloud() -> None:
    device, cloud = plain_lines(_SCENE)
    assert "camera-1: gaussian noise 5; frozen model 31.2 %" in device
    assert "uploaded 640 of 812 kept to choose from; sent 531 kB, received 14.2 kB; 0 #1 trial" in device
    assert "1 cohorts, 512 samples, 1 patches published" in cloud


def test_sparkline_rises_with_the_values_and_keeps_the_newest() -> None:
    assert sparkline((0.0, 0.2, 0.65, 1.0)) == "▁▁▅█"
    assert sparkline([0.0] * 50 + [1.0], width=3) == "▁▁█"
