"""Can what the configuration says about the uplink be meant: what may leave, and what it may cost?"""

from __future__ import annotations

from collections.abc import Iterator

from edgeadapt.bundle import Bundle
from edgeadapt.errors import ConfigError
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.core.uplink.lanes import POLICIES
from edgeadapt_device.doctor.finding import Finding, failed, ok, warning
from edgeadapt_device.io.leaving import Leaving

# Both ways, for each keep-alive, about.
_PING_BYTES = 240


def look(config: DeviceConfig, bundle: Bundle) -> Iterator[Finding]:
    """Privacy switches against the bundle, the policy, and whether the budget pays for more than pings."""
    try:
        Leaving(config.privacy, bundle.manifest.classes)
    except ConfigError as error:
        yield failed(
            "privacy", str(error), "install the plug-in, or correct the key; no frame leaves until then"
        )
    else:
        yield from _privacy(config, bundle)
    if config.flagging.policy not in POLICIES:
        known = ", ".join(POLICIES.names())
        text = f"flagging.policy: {config.flagging.policy!r} is not known; known: {known}"
        yield failed("policy", text, "set one of them")
    pings = _PING_BYTES * 3600 // config.mqtt.keepalive_s
    if config.mqtt.enabled and 2 * pings > config.budget.bytes_per_hour:
        yield warning(
            "budget",
            f"budget.bytes_per_hour: {config.budget.bytes_per_hour}; keeping the connection takes {pings}",
            "set a larger budget, or a longer mqtt.keepalive_s",
        )


def _privacy(config: DeviceConfig, bundle: Bundle) -> Iterator[Finding]:
    privacy, spec = config.privacy, bundle.manifest.input
    pictures = bool(privacy.blurred or privacy.max_side or privacy.redactor)
    if pictures and (spec.kind != "image" or privacy.mode != "images"):
        why = "the model takes arrays" if spec.kind != "image" else f'privacy.mode is "{privacy.mode}"'
        yield warning(
            "privacy",
            f"blurred, max_side and redactor are for pictures, and {why}",
            "leave them out; arrays do not leave while one of them is set",
        )
    elif set(privacy.suppressed) >= set(bundle.manifest.classes):
        yield warning(
            "privacy", "all classes are suppressed: no frame ever leaves", 'mode = "statistics" says it'
        )
    else:
        yield ok("privacy", f"mode {privacy.mode}, {len(privacy.suppressed)} classes suppressed")
