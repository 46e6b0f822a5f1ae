"""The sequences of domains that the demo plays."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest

from edgeadapt.errors import ConfigError
from edgeadapt_sim.demo.plan import DemoPlan, device_names, streams


@pytest.mark.parametrize("devices", [1, 3, 5])
def test_each_device_meets_its_own_domains_and_one_again(devices: int) -> None:
    specs = streams(DemoPlan(devices=devices))
    assert tuple(specs) == device_names(DemoPlan(devices=devices))
    assert len({spec.seed for spec in specs.values()}) == devices
    for spec in specs.values():
        domains = [segment.domain for segment in spec.segments]
        assert domains[0] == "clean"
        assert len(set(domains)) < len(domains)
        assert all(one != other for one, other in itertools.pairwise(domains))


def test_three_devices_share_a_domain_but_not_a_sequence() -> None:
    sequences = [tuple(s.domain for s in spec.segments) for spec in streams(DemoPlan()).values()]
    assert len(set(sequences)) == 3
    assert set.intersection(*map(set, sequences)) - {"clean"}


def test_streams_are_as_long_as_asked() -> None:
    for spec in streams(DemoPlan(seconds=30, frames_per_second=20)).values():
        assert spec.frames == 600


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"devices": 0}, "devices"),
        ({"seconds": 1}, "seconds"),
        ({"frames_per_second": 0}, "frames_per_second"),
    ],
)
def test_impossible_options_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        dataclasses.replace(DemoPlan(), **options)
