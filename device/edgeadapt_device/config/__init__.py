"""What a device is told: its sections, what they must be, and where their values come from."""

from __future__ import annotations

from edgeadapt_device.config.checks import check, trusted_key_bytes
from edgeadapt_device.config.sections import (
    BudgetSection,
    DeliverySection,
    DeviceConfig,
    DeviceSection,
    DomainsSection,
    EngineSection,
    FlaggingSection,
    HttpSection,
    MqttSection,
    OutputSection,
    ProbeSection,
    Section,
    SourceSection,
    TrialSection,
    TrustSection,
)

__all__ = [
    "BudgetSection",
    "DeliverySection",
    "DeviceConfig",
    "DeviceSection",
    "DomainsSection",
    "EngineSection",
    "FlaggingSection",
    "HttpSection",
    "MqttSection",
    "OutputSection",
    "ProbeSection",
    "Section",
    "SourceSection",
    "TrialSection",
    "TrustSection",
    "check",
    "trusted_key_bytes",
]
