"""The report, the summary and the picture of a made-up run whose figures are known."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from edgeadapt_sim.report.page import render
from edgeadapt_sim.report.picture import draw
from edgeadapt_sim.report.style import bytes_text, tints
from edgeadapt_sim.report.summary import Summary, encode, headline, summarise
from tests.sim.example_run import example_run


def test_summary_counts_what_the_run_holds() -> None:
    run = example_run(devices=2, frames=500)
    summary = summarise(run)
    assert summary.bytes_up == 2 * 520_000
    assert summary.uploaded_share == pytest.approx(2 * 840 / (2 * 4 * 500))
    assert (summary.published, summary.refused) == (1, 1)
    loop = [record.correct["loop"].mean() for record in run.devices]
    assert summary.accuracy["loop"] == pytest.approx(sum(loop) / 2)
    assert [row.domain for row in summary.domains] == ["clean", "fog:5", "contrast:5", "gaussian_noise:5"]
    assert summary.helped


def test_the_loop_helped_only_if_it_is_at_least_own_statistics() -> None:
    worse = summarise(example_run(loop_gain=-0.2))
    assert not worse.helped
    assert "did not help" in headline(worse)
    run = example_run()
    equal = tuple(
        replace(record, correct={**record.correct, "loop": record.correct["statistics"]})
        for record in run.devices
    )
    assert summarise(replace(run, devices=equal)).helped
    frozen = tuple(
        replace(record, correct=dict.fromkeys(record.correct, record.correct["frozen"])) for record in equal
    )
    assert not summarise(replace(run, devices=frozen)).helped


def test_summary_survives_json() -> None:
    summary = summarise(example_run())
    assert msgspec.json.decode(encode(summary), type=Summary) == summary


def test_page_is_one_file_with_every_part() -> None:
    run = example_run(frames=400)
    page = render(run)
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
    for text in ("camera-3", "gaussian noise 5", "agreement-gain-lower", "refused", "patch reapplied"):
        assert text in page
    assert headline(summarise(run)) in page
    assert page.count("Plotly.newPlot(") == 5
    assert "{{" not in page.split("<script", 1)[0]


def test_page_escapes_what_devices_and_jobs_say() -> None:
    run = example_run(devices=1, frames=200)
    hostile = replace(run.jobs[0], cohort="<script>alert(1)</script>", note="<b>note</b>")
    page = render(replace(run, jobs=(hostile,)))
    assert "<script>alert(1)" not in page
    assert "&lt;b&gt;note" in page


def test_picture_is_a_wide_png(tmp_path: Path) -> None:
    draw(example_run(frames=300), tmp_path / "report.png")
    with Image.open(tmp_path / "report.png") as image:
        assert image.format == "PNG"
        assert image.width >= 1200
        assert len(image.convert("RGB").resize((64, 64)).getcolors(4096) or ()) > 50


def test_bytes_and_tints_read_well() -> None:
    assert [bytes_text(size) for size in (12, 3210, 5.2e6, 7e9)] == ["12 B", "3.2 kB", "5.2 MB", "7.00 GB"]
    shades = tints(("clean", "fog:5"))
    assert shades["clean"] != shades["fog:5"]
