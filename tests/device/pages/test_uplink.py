"""The page on the uplink names every key of its sections, every lane, purpose and policy."""

from __future__ import annotations

from pathlib import Path

from edgeadapt_device.config import BudgetSection, PrivacySection
from edgeadapt_device.core.uplink.accounts import LANES
from edgeadapt_device.core.uplink.lanes import POLICIES
from edgeadapt_device.core.uplink.ledger import PURPOSES
from edgeadapt_device.io.leaving.redact import GROUP

PAGE = (Path(__file__).parents[3] / "docs" / "uplink.md").read_text(encoding="utf-8")


def test_every_key_is_explained() -> None:
    for section, name in ((BudgetSection, "budget"), (PrivacySection, "privacy")):
        assert [key for key in section.__struct_fields__ if f"`{name}.{key}" not in PAGE] == []


def test_lanes_purposes_policies_and_modes_are_named() -> None:
    assert [lane for lane in LANES if f"| {lane} |" not in PAGE] == []
    assert [purpose for purpose in PURPOSES if f"`{purpose}`" not in PAGE] == []
    assert [name for name in POLICIES if name.replace("-", " ") not in PAGE.lower().replace("-", " ")] == []
    assert [mode for mode in ("images", "embedding", "statistics") if f'mode = "{mode}"' not in PAGE] == []
    assert f"`{GROUP}`" in PAGE
