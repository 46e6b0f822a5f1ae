"""What the page on sources says, held against the code: its example runs, no key and no state is missing."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from edgeadapt_device.config import SourceSection
from edgeadapt_device.io.sources import SourceState
from edgeadapt_models.compile import tiny_bundle
from edgeadapt_models.compile.tiny import CLASSES

PAGE = (Path(__file__).parents[3] / "docs" / "sources.md").read_text(encoding="utf-8")


def test_the_example_runs_as_it_is(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "bundle")
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == 100
    assert {name for name, _, _ in lines} <= set(CLASSES)
    assert all(0.0 < float(share) <= 1.0 for _, share, _ in lines)
    assert {generation for _, _, generation in lines} == {"base"}
    assert (tmp_path / "state" / "status.json").is_file()
    shutil.rmtree(tmp_path / "state")


def test_every_state_and_every_kind_of_source_is_explained() -> None:
    for state in SourceState:
        assert f"| `{state.value}` |" in PAGE
    for kind in ("stream", "folder", "video", "camera", "watch"):
        assert f"| `{kind}` |" in PAGE


def test_no_key_of_the_section_is_unknown_to_the_page_or_self_explaining() -> None:
    obvious = {"kind", "path", "frames_per_second", "width", "height", "poll_s", "moved_to"}
    for key in set(SourceSection.__struct_fields__) - obvious:
        assert re.search(rf"`{key}\b", PAGE), f"source.{key}"
