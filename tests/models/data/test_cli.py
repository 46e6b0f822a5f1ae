"""The commands, on a folder of pictures made here."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from edgeadapt.errors import ConfigError
from edgeadapt_models.data import CORRUPTIONS, fashion_mnist
from edgeadapt_models.data.cli import group, read_spec
from edgeadapt_models.data.locations import CIFAR10_VARIABLE
from edgeadapt_models.data.streams.files import read
from tests.models.data.test_fashion_mnist import fill as fill_fashion
from tests.models.data.test_image_folder import fill, put


def run(*arguments: str) -> str:
    result = CliRunner().invoke(group, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_list_says_what_is_here_and_how_to_get_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(CIFAR10_VARIABLE, raising=False)
    monkeypatch.setattr(fashion_mnist, "DEBIAN_DIR", tmp_path / "nowhere")
    cifar, fashion, folder = run("list").splitlines()
    assert cifar.startswith("cifar10 ")
    assert f"not here: run edgeadapt data fetch cifar10, or let {CIFAR10_VARIABLE}" in cifar
    assert fashion.startswith("fashion-mnist ")
    assert "not here: install the Debian package dataset-fashion-mnist" in fashion
    assert folder.startswith("image-folder ")
    assert "name the folder: --root FOLDER" in folder
    fill_fashion(tmp_path / "cache" / "edgeadapt" / "fashion-mnist")
    for name in ("train.npz", "test.npz"):
        (tmp_path / name).touch()
    monkeypatch.setenv(CIFAR10_VARIABLE, str(tmp_path))
    cifar, fashion, _ = run("list").splitlines()
    assert cifar.endswith(f"here: {tmp_path}")
    assert fashion.endswith("here: " + str(tmp_path / "cache" / "edgeadapt" / "fashion-mnist"))


def test_corruptions_are_named() -> None:
    assert run("corruptions").split() == list(CORRUPTIONS)


def test_fetch_says_what_is_there(tmp_path: Path) -> None:
    fill(tmp_path)
    assert "3 training and 3 test images of 12x10x3 in 2 classes: cat, dog" in run(
        "fetch", "image-folder", "--root", str(tmp_path)
    )


def test_corrupt_draws_a_sheet(tmp_path: Path) -> None:
    fill(tmp_path)
    run("corrupt", "image-folder", "--root", str(tmp_path), "--images", "2", "--out", str(tmp_path / "s.png"))
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.size[0] > 6 * 2 * 10
        assert len(np.unique(np.asarray(sheet))) > 50


def test_render_writes_a_stream_from_short_words_and_from_toml(tmp_path: Path) -> None:
    fill(tmp_path)
    common = ["--root", str(tmp_path)]
    short = ["--domains", "clean:5,fog:5:7", "--dataset", "image-folder", "--seed", "4"]
    run("render", *short, *common, "--out", str(tmp_path / "a"))
    spec = tmp_path / "stream.toml"
    spec.write_text(
        'dataset = "image-folder"\nseed = 4\n'
        '[[segments]]\ndomain = "clean"\nframes = 5\n[[segments]]\ndomain = "fog:5"\nframes = 7\n'
    )
    run("render", "--spec", str(spec), *common, "--out", str(tmp_path / "b"))
    first, second = read(tmp_path / "a"), read(tmp_path / "b")
    assert first.spec == second.spec
    assert np.array_equal(first.frames, second.frames)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('dataset = "x"\nsegmnts = []\n', "unknown key 'segmnts'|missing key 'segments'"),
        ('dataset = "x"\n[[segments]]\ndomain = "haze:5"\nframes = 5\n', "unknown corruption 'haze'"),
        (
            'dataset = "x"\n[[segments]]\ndomain = "clean"\nframes = "5"\n',
            r"segments\[0\]\.frames: expected",
        ),
    ],
)
def test_a_wrong_spec_names_the_file_and_the_fault(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_spec(path)
    assert "wrong.toml" in str(caught.value)


def test_a_size_makes_pictures_of_two_sizes_one_set(tmp_path: Path) -> None:
    fill(tmp_path)
    put(tmp_path / "test" / "dog" / "odd.png", height=20, width=20)
    common = ["--root", str(tmp_path), "--size", "16x18"]
    assert "of 16x18x3" in run("fetch", "image-folder", *common)
    run(
        "render", "--dataset", "image-folder", "--domains", "fog:5:3", *common, "--out", str(tmp_path / "out")
    )
    assert read(tmp_path / "out").frames.shape == (3, 16, 18, 3)
    result = CliRunner().invoke(group, ["fetch", "image-folder", "--size", "16"])
    assert result.exit_code == 2
    assert "as in 28x28" in result.output


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    fill(tmp_path)
    blocked = tmp_path / "train" / "cat" / "1.png"  # a file where a folder would have to be
    common = ["image-folder", "--root", str(tmp_path)]
    with pytest.raises(ConfigError, match=r"cannot write .*sheet\.png.*folder that exists"):
        run("corrupt", *common, "--out", str(blocked / "sheet.png"))
    stream = ["--dataset", *common, "--domains", "clean:3"]
    with pytest.raises(ConfigError, match=r"cannot write the stream.*1\.png.*name a folder"):
        run("render", *stream, "--out", str(blocked / "stream"))


def test_render_wants_one_description(tmp_path: Path) -> None:
    result = CliRunner().invoke(group, ["render", "--out", str(tmp_path / "x")])
    assert result.exit_code == 2
    assert "--spec or --domains" in result.output


def test_this_package_imports_without_torch() -> None:
    code = "import sys, edgeadapt_models.data.cli; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
