"""What `make arm` says of what it finds. The emulator itself is not started here."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.arm.run import BOARDS, REPOSITORY, Emulated, compare, compile_here, run_here


def test_a_difference_is_held_against_the_largest_value() -> None:
    here = {
        "a float32/base/logits": np.array([[100.0, 1.0]], np.float32),
        "a float32/base/mean": np.ones((1, 2), np.float32),
    }
    there = {name: value.copy() for name, value in here.items()}
    there["a float32/base/logits"][0, 1] += 5e-4
    (row,) = compare(here, there)
    assert row.title == "a float32, base"
    assert row.good
    assert row.differences["mean"] == 0.0
    assert row.differences["logits"] == pytest.approx(5e-6, rel=0.01)
    there["a float32/base/logits"][0, 1] += 5e-3
    assert not compare(here, there)[0].good
    with pytest.raises(KeyError):
        compare(here, {})


def test_a_board_is_described_as_its_kernel_would(tmp_path: Path) -> None:
    for board in BOARDS:
        arm = Emulated(tmp_path, board)
        (tmp_path / "root").mkdir(exist_ok=True)
        arm.boot()
        text = (tmp_path / "root" / "proc" / "cpuinfo").read_text()
        assert f"CPU part\t: {board.part}" in text
        assert board.core in arm.command("x.py")
    assert "asimddp" in text
    assert "asimddp" not in BOARDS[0].features


def test_the_job_holds_all_that_a_device_needs(tmp_path: Path) -> None:
    bundle = compile_here(tmp_path)
    titles = {artifact.title for artifact in bundle.manifest.artifacts}
    assert titles == {f"{r} {p}" for r in ("onnxruntime", "tflite") for p in ("float32", "int8")}
    results = run_here(tmp_path, bundle)
    assert len(results) == 4 * 2 * 5
    base, patched = (results[f"tflite int8/{name}/logits"] for name in ("base", "patched"))
    assert np.abs(base - patched).max() > 0.1


def test_a_missing_tool_is_named_with_the_package_that_brings_it(tmp_path: Path) -> None:
    for tool in ("bash", "dirname", "mkdir", "dpkg-deb"):
        found = shutil.which(tool)
        if found is None:
            pytest.skip(f"{tool} is not here")
        (tmp_path / tool).symlink_to(found)
    done = subprocess.run(
        ["bash", str(REPOSITORY / "scripts" / "arm.sh"), str(tmp_path / "out")],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert (
        "make arm needs qemu-aarch64-static: on Debian or Ubuntu, apt install qemu-user-static" in done.stderr
    )
