"""The range of every number in `device.toml`: outside of it something would crash, hang or mislead.

A test holds that no number of the configuration is without one. Numbers that are not finite are never
accepted: a NaN compares false with everything, and so passes most checks and stops most timers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

from edgeadapt.errors import ConfigError

_YEAR_S = 366 * 24 * 3600
_MANY = 2**31 - 1  # frames or bytes; more is a slip of the finger
_BYTES = 2**40
# What a message and its way add to a frame, about.
_SAMPLE_EXTRA_BYTES = 512


class Limit(NamedTuple):
    """Smallest and largest value."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"a number from {self.low:.15g} to {self.high:.15g}"


_SHARE = Limit(0.0, 1.0)
_FRAMES = Limit(1, _MANY)
_DISTANCE = Limit(0.0, 1e6)

LIMITS: dict[str, Limit] = {
    "mqtt.port": Limit(1, 65535),
    "mqtt.keepalive_s": Limit(1, 65535),
    "mqtt.session_expiry_s": Limit(0, 2**32 - 1),
    "mqtt.will_delay_s": Limit(0, 24 * 3600),
    "mqtt.reconnect_max_s": Limit(1, 24 * 3600),
    "source.frames_per_second": Limit(0.0, 1e6),
    # A frame of a camera may be of megabytes.
    "source.queue_frames": Limit(1, 1000),
    "source.stall_s": Limit(1.0, _YEAR_S),
    "source.width": Limit(0, 65_535),
    "source.height": Limit(0, 65_535),
    "source.poll_s": Limit(0.01, _YEAR_S),
    "source.settle_s": Limit(0.0, _YEAR_S),
    "engine.threads": Limit(1, 1024),
    "probe.share": _SHARE,
    "probe.young_frames": Limit(0, _MANY),
    "probe.burst_frames": Limit(0, _MANY),
    "statistics.prior_frames": Limit(0.0, 1e9),
    "statistics.window_frames": Limit(1.0, 1e9),
    "statistics.frames_per_update": Limit(1, 100_000),
    "statistics.min_move": Limit(0.0, 1e3),
    "statistics.build_share": Limit(0.001, 1.0),
    "statistics.embedding_gain": _SHARE,
    "domains.window_frames": Limit(1, 100_000),
    "domains.reference_frames": _FRAMES,
    "domains.max_reference_frames": _FRAMES,
    "domains.shift_distance": Limit(0.001, 1e6),
    "domains.patience_frames": _FRAMES,
    # One in a million is proof beyond use; more than a half is none.
    "domains.alarm_level": Limit(1e-6, 0.5),
    "domains.match_distance": _DISTANCE,
    "domains.hysteresis": _DISTANCE,
    "domains.match_frames": _FRAMES,
    "domains.bank_bytes": Limit(0, _BYTES),
    "domains.warm_sessions": Limit(0, 1000),
    "domains.warm_bytes": Limit(0, _BYTES),
    "domains.report_every_frames": _FRAMES,
    "flagging.window_frames": Limit(1, 100_000),
    "flagging.window_s": Limit(0.1, _YEAR_S),
    "flagging.reservoir_per_class": Limit(1, 100_000),
    "flagging.reservoir_bytes": Limit(1, _BYTES),
    # The largest distance that two directions can have is 2.
    "flagging.min_novelty": Limit(0.0, 2.0),
    # At 0 nothing is strange; above a half most of what is known would be.
    "flagging.alpha": Limit(0.0, 0.5),
    "flagging.verdict_frames": Limit(8, 100_000),
    "flagging.suspects": Limit(0, 100_000),
    "flagging.suspect_bytes": Limit(0, _BYTES),
    "flagging.clusters": Limit(0, 1000),
    "flagging.entropy_low": _SHARE,
    "flagging.entropy_high": _SHARE,
    "flagging.redundancy_margin": _SHARE,
    "flagging.adapt_share": _SHARE,
    "flagging.ask_share": _SHARE,
    "flagging.audit_share": _SHARE,
    "flagging.audit_chance": _SHARE,
    "flagging.min_drift": _DISTANCE,
    "budget.bytes_per_hour": Limit(0, _BYTES),
    "budget.bytes_per_day": Limit(0, _BYTES),
    "budget.burst_bytes": Limit(1, _BYTES),
    "budget.debt_bytes": Limit(0, _BYTES),
    # None would leave no sample to choose.
    "budget.segment_share": Limit(0.01, 1.0),
    "budget.shift_frames": Limit(0, _MANY),
    "delivery.in_flight": Limit(1, 400),
    "delivery.in_flight_reports": Limit(1, 400),
    "delivery.yield_after_sends": Limit(1, 10_000),
    "delivery.drop_after_sends": Limit(1, 10_000),
    "delivery.resend_s": Limit(0.1, _YEAR_S),
    "delivery.resend_max_s": Limit(0.1, _YEAR_S),
    "delivery.sample_expiry_s": Limit(0, _YEAR_S),
    "delivery.descriptor_expiry_s": Limit(0, _YEAR_S),
    "delivery.outbox_bytes": Limit(1, _BYTES),
    "delivery.retention_hours": Limit(0.0, 100 * 366 * 24),
    "delivery.descriptor_items": Limit(1, 256),
    "delivery.descriptor_pause_s": Limit(0.0, _YEAR_S),
    "delivery.want_wait_s": Limit(1.0, _YEAR_S),
    "privacy.max_side": Limit(0, 65_535),
    "trial.frames": _FRAMES,
    # Nothing compared is nothing proved: every patch would be reverted.
    "trial.share": Limit(0.001, 1.0),
    "trial.min_compared": _FRAMES,
    # One in a million is proof beyond use; more than a half is none.
    "trial.alpha": Limit(1e-6, 0.5),
    "trial.settle_frames": Limit(0, _MANY),
    # A bound that cannot be broken, or cannot be kept, is no test.
    "trial.max_entropy_rise": Limit(0.0, 0.99),
    "trial.max_concentration": Limit(0.0, 0.99),
    "trial.min_agreement": Limit(0.01, 0.99),
    "trial.max_probe_distance": Limit(0.0, 0.99),
    "trial.deadline_s": Limit(1.0, _YEAR_S),
    "output.status_every_s": Limit(0.01, _YEAR_S),
    "output.commit_every_s": Limit(0.01, _YEAR_S),
    "output.metric_every_s": Limit(0.01, _YEAR_S),
    "output.stalled_after_s": Limit(0.0, _YEAR_S),
    "http.port": Limit(0, 65535),
}


def check_numbers(config: msgspec.Struct) -> None:
    """Raises ConfigError that names the first number outside its range, and the range."""
    for section in config.__struct_fields__:
        part = getattr(config, section)
        for key in part.__struct_fields__:
            value, limit = getattr(part, key), LIMITS.get(f"{section}.{key}")
            # Neither a NaN nor an infinity lies between two numbers.
            if limit is not None and not limit.low <= value <= limit.high:
                raise ConfigError(f"{section}.{key}: expected {limit}, got {value}")


def burst_warning(burst_bytes: int, shape: tuple[int, ...]) -> str:
    """What to say about a budget that two frames (height, width, channels) do not fit into, or ""."""
    needed = 2 * (math.prod(shape) + _SAMPLE_EXTRA_BYTES)
    if burst_bytes >= needed:
        return ""
    return (
        f"budget.burst_bytes: {burst_bytes} is less than two frames of this source may take, so few or none "
        f"will be uploaded: set {needed} or more"
    )
