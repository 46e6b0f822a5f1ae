"""What a device is told: its sections, what they must be, and where their values come from."""

from __future__ import annotations

from edgeadapt_device.config.base import Section
from edgeadapt_device.config.checks import check, trusted_key_bytes
from edgeadapt_device.config.sections import (
    DeviceConfig,
    DeviceSection,
    DomainsSection,
    EngineSection,
    HttpSection,
    MqttSection,
    OutputSection,
    ProbeSection,
    SourceSection,
    TrialSection,
    TrustSection,
)
from edgeadapt_device.config.uplink import (
    BudgetSection,
    DeliverySection,
    FlaggingSection,
    PrivacySection,
    suppressed_classes,
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
    "PrivacySection",
    "ProbeSection",
    "Section",
    "SourceSection",
    "TrialSection",
    "TrustSection",
    "check",
    "suppressed_classes",
    "trusted_key_bytes",
]
