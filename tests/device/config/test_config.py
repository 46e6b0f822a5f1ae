"""Every number has a range; what would be ignored, or would end a thread, is a mistake before the start."""

from __future__ import annotations

from pathlib import Path
from typing import get_type_hints

import pytest

from edgeadapt.errors import ConfigError
from edgeadapt_device.cli import read_config
from edgeadapt_device.config import DeviceConfig, DeviceSection, check
from edgeadapt_device.config.limits import LIMITS, burst_warning

NUMBERS = [
    f"{section}.{key}"
    for section, kind in get_type_hints(DeviceConfig).items()
    for key, of in get_type_hints(kind).items()
    if of in (int, float)
]


def read(folder: Path, section: str, line: str) -> DeviceConfig:
    """A configuration file with one more line."""
    path = folder / "mine.toml"
    path.write_text(f'[device]\nname = "a"\n[{section}]\n{line}\n')
    return read_config(path)


def test_every_number_has_a_range_that_holds_its_default() -> None:
    assert set(NUMBERS) == set(LIMITS)
    check(DeviceConfig(device=DeviceSection(name="a")))


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_out_of_range_names_file_key_and_range(tmp_path: Path, name: str) -> None:
    section, key = name.split(".")
    whole = isinstance(getattr(getattr(DeviceConfig(device=DeviceSection(name="a")), section), key), int)
    bad = [LIMITS[name].low - 1, LIMITS[name].high + 1]
    texts = [f"{int(value)}" if whole else f"{value!r}" for value in bad] + ([] if whole else ["nan", "inf"])
    for text in texts:
        with pytest.raises(ConfigError) as caught:
            read(tmp_path, section, f"{key} = {text}")
        assert "mine.toml" in str(caught.value)
        assert f"{name}: expected a number from" in str(caught.value)


@pytest.mark.parametrize(
    ("section", "line", "words"),
    [
        ("mqtt", 'host = "broker..local"', "mqtt.host"),
        ("mqtt", 'host = ""\ntls_ca = "ca.pem"', "mqtt.tls_name"),
        ("mqtt", 'tls_name = "broker"', "mqtt.tls_ca"),
        ("mqtt", 'interfaces = ["eth0"]', "mqtt.interfaces"),
        ("mqtt", 'host = "a b"', "mqtt.host"),
        ("mqtt", 'tls_cert = "c.pem"', "mqtt.tls_ca"),
        ("mqtt", 'tls_ca = "ca.pem"\ntls_key = "k.pem"', "mqtt.tls_cert"),
        ("mqtt", 'password_file = "p"', "mqtt.username"),
        ("flagging", "entropy_low = 0.9", "flagging.entropy_low"),
    ],
)
def test_keys_that_need_one_another(tmp_path: Path, section: str, line: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read(tmp_path, section, line)


@pytest.mark.parametrize("host", ["localhost", "10.0.0.7", "::1", "broker.example.com", "bröker.example"])
def test_hosts_that_can_be(tmp_path: Path, host: str) -> None:
    assert read(tmp_path, "mqtt", f'host = "{host}"').mqtt.host == host


def test_a_number_from_the_environment_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEADAPT__PROBE__SHARE", "7")
    with pytest.raises(ConfigError, match=r"^environment EDGEADAPT__PROBE__SHARE: probe\.share: expected"):
        read(tmp_path, "probe", "young_frames = 1")


def test_a_name_from_the_environment_may_be_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEADAPT__DEVICE__NAME", "123")
    assert read(tmp_path, "probe", "share = 0.5").device.name == "123"


def test_a_budget_below_two_frames_says_what_to_set() -> None:
    assert burst_warning(1_000_000, (224, 224, 3)) == ""
    text = burst_warning(1_000_000, (1080, 1920, 3))
    assert text.startswith("budget.burst_bytes: 1000000")
    needed = int(text.split()[-3])
    assert burst_warning(needed, (1080, 1920, 3)) == ""
    assert burst_warning(needed - 1, (1080, 1920, 3)) != ""
