"""A device needs no torch, no onnx, no scipy and nothing of the models' package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest
from click.testing import CliRunner

from edgeadapt import config as toml
from edgeadapt.errors import ConfigError
from edgeadapt_device.cli import group, read_config
from edgeadapt_device.config import DeviceConfig, DeviceSection, check

_IMPORT_ALL = """
import importlib, pkgutil, sys

BLOCKED = {"torch", "onnx", "scipy", "edgeadapt_models", "edgeadapt_cloud", "edgeadapt_sim"}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is not there on a device")
        return None

sys.meta_path.insert(0, Refuse())
import edgeadapt_device
found = [m.name for m in pkgutil.walk_packages(edgeadapt_device.__path__, "edgeadapt_device.")]
for name in found:
    importlib.import_module(name)
assert not BLOCKED & {name.partition(".")[0] for name in sys.modules}
sys.stdout.write(" ".join(found))
"""


def test_every_module_imports_without_what_a_device_does_not_have() -> None:
    done = subprocess.run([sys.executable, "-c", _IMPORT_ALL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {
        "edgeadapt_device.daemon",
        "edgeadapt_device.core.core",
        "edgeadapt_device.io.engines.onnx",
    } <= set(done.stdout.split())


def test_the_printed_example_is_a_configuration() -> None:
    done = CliRunner().invoke(group, ["example-config"])
    assert done.exit_code == 0
    parsed = check(toml.parse(done.output, DeviceConfig, source="example", environ={}))
    assert parsed == DeviceConfig(device=DeviceSection(name="camera-1"))


def test_the_printed_example_shows_every_key_with_a_comment() -> None:
    lines = CliRunner().invoke(group, ["example-config"]).output.splitlines()
    for section, kind in get_type_hints(DeviceConfig).items():
        begin = lines.index(f"[{section}]")
        assert lines[begin - 1].startswith("# ")
        for key in kind.__struct_fields__:
            at = next(i for i, line in enumerate(lines[begin:], begin) if line.startswith(f"{key} = "))
            assert lines[at - 1].startswith("# "), f"{section}.{key} has no comment"
            assert not any(line.startswith("[") for line in lines[begin + 1 : at]), f"{section}.{key}"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[device]\nname = "a"\ncolour = 1\n', "colour"),
        ('[device]\nname = "a"\n[probe]\nshare = "much"\n', "probe.share"),
        ('[device]\nname = "a"\n[probe]\nshare = 1.5\n', "probe.share"),
        ('[device]\nname = "a b"\n', "device.name"),
        ('[device]\nname = "a"\n[trust]\nkeys = ["00"]\n', "trust.keys"),
        ("[probe]\nshare = 0.5\n", "device"),
    ],
)
def test_a_mistake_names_the_file_and_the_key(tmp_path: Path, text: str, key: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert "mine.toml" in str(caught.value)
    assert key in str(caught.value)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="example-config"):
        read_config(tmp_path / "none.toml")
