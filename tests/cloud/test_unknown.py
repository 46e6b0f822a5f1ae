"""`edgeadapt cloud unknown`: what three devices do not know, as a person sees it."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from edgeadapt_cloud.cli import group
from edgeadapt_cloud.config import WantsConfig
from edgeadapt_cloud.io.unknown import Unknown
from tests.cloud.core.test_wants import announce, item, send
from tests.cloud.fleet import BUNDLE, FLEET, DeviceDouble, at, config, local, png
from tests.core.bundles import files

CLASSES = BUNDLE.manifest.classes


def run(folder: Path, *arguments: str) -> Result:
    path = folder / "cloud.toml"
    path.write_text(
        f'[bundle]\npath = "bundle"\n[signing]\nkey = "k"\n[cloud]\nfleet = "{FLEET}"\nstate_dir = "."\n'
    )
    command = ["unknown", arguments[0], "--config", str(path), *arguments[1:]]
    return CliRunner().invoke(group, command, catch_exceptions=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three devices: two things that all or two see, one seen once, a picture without a word, an audit."""
    for name, data in files().items():
        path = tmp_path / "bundle" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    cloud = local(folder=tmp_path, settings=config(wants=WantsConfig(patience_s=100.0)))
    one, two, three = (DeviceDouble(name, outbox=f"box-{name}") for name in ("one", "two", "three"))
    announce(cloud, two, at(1), msgspec.structs.replace(item(60, 2), predicted=2))
    announce(cloud, one, at(2), msgspec.structs.replace(item(50, 1), members=3))
    announce(cloud, two, at(3), msgspec.structs.replace(item(61, 1), members=4))
    announce(cloud, three, at(4), msgspec.structs.replace(item(72, 5), members=1))
    send(cloud, one, 50, at(5), seed=7)
    announce(cloud, three, at(6), msgspec.structs.replace(item(70, 1), members=5))
    announce(cloud, three, at(7), msgspec.structs.replace(item(71, 1), members=5, lane="adapt"))
    send(cloud, two, 90, at(8), seed=8)
    cloud.deliver(*three.sample(lane="audit", chance=0.1, verdict="unknown"), at(9))
    cloud.deliver(*three.sample(lane="audit", chance=0.1, verdict="familiar"), at(9))
    cloud.close()
    return tmp_path


def listed(folder: Path, *arguments: str) -> list[Unknown]:
    return msgspec.json.decode(run(folder, "list", "--json", *arguments).stdout, type=list[Unknown])


def test_what_most_devices_see_comes_first_and_what_is_lonely_is_hidden(folder: Path) -> None:
    first, second, single = listed(folder)
    assert (first.devices, first.frames, first.picture, first.nearest) == (3, 12, "here", CLASSES[1])
    assert (second.devices, second.frames, second.picture, second.nearest) == (1, 7, "coming", CLASSES[2])
    assert (first.first_s, first.last_s) == (at(2).wall_s, at(6).wall_s)
    assert [(seen.device, seen.frames, seen.state) for seen in first.sightings] == [
        ("one", 3, "received"),
        ("two", 4, "declined"),
        ("three", 5, "declined"),
    ]
    assert (single.id[0], single.lane, single.picture) == ("s", "ask", "here")
    everything = listed(folder, "--all")
    assert [one.id for one in everything[:3]] == [first.id, second.id, single.id]
    assert [(one.lane, one.picture, one.frames) for one in everything[3:]] == [
        ("ask", "coming", 1),
        ("audit", "here", 1),
    ]


def test_the_table_says_the_same_in_words(folder: Path) -> None:
    result = run(folder, "list")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["id", "lane", "frames", "devices", "last", "seen", "picture", "nearest"]
    assert lines[1].split()[1:4] == ["ask", "12", "3"]
    assert lines[1].split()[-2:] == ["here", CLASSES[1]]
    assert lines[-1] == "2 that one device saw once: --all shows them"
    assert result.exit_code == 0


def test_its_picture_is_written_as_the_model_sees_it(folder: Path) -> None:
    (first, *_) = listed(folder)
    result = run(folder, "show", first.id, "--out", str(folder / "pictures"))
    assert result.exit_code == 0
    for word in ("three", "declined", "one", "received", "12"):
        assert word in result.stdout
    (path,) = (folder / "pictures").iterdir()
    assert path.name == f"unknown-{first.id}-1.png"
    assert f"wrote {path}" in result.stdout
    sent = np.asarray(Image.open(io.BytesIO(png(7))))
    assert np.array_equal(np.asarray(Image.open(path)), sent)
    shown = msgspec.json.decode(run(folder, "show", first.id, "--json").stdout, type=Unknown)
    assert shown == first


def test_what_is_not_there_says_so_with_a_code_of_its_own(folder: Path) -> None:
    result = run(folder, "show", "999")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no unknown thing '999'" in result.stderr
    coming = listed(folder)[1]
    result = run(folder, "show", coming.id, "--out", str(folder / "pictures"))
    assert result.exit_code == 1
    assert "no picture of it can be written: coming" in result.stderr
    assert not (folder / "pictures").exists()


def test_without_the_bundle_classes_are_numbers(folder: Path) -> None:
    (folder / "bundle" / "manifest.json").unlink()
    assert listed(folder)[0].nearest == "class 1"


@pytest.mark.parametrize("command", ["", "unknown", "unknown list", "unknown show"])
def test_its_help_fits_a_terminal(command: str) -> None:
    shown = CliRunner().invoke(group, [*command.split(), "--help"], terminal_width=80)
    assert max(map(len, shown.output.splitlines())) <= 80


def test_nothing_asked(tmp_path: Path) -> None:
    local(folder=tmp_path).close()
    assert run(tmp_path, "list").stdout == "nothing was asked about\n"
