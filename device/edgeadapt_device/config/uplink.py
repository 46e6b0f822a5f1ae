"""What a device is told about its uplink: which frames are worth it, what it may cost, what may leave.

Entropies are in fractions of ln K (K classes), sizes in bytes, durations in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from edgeadapt.errors import ConfigError
from edgeadapt_device.config.base import Section


class FlaggingSection(Section, frozen=True):
    """[flagging]: which frames are worth a teacher's time."""

    # False uploads no frame.
    enabled: bool = True
    # Scorers that decide what is strange; empty: all that the bundle brings for single frames.
    scorers: tuple[str, ...] = ()
    # A frame is strange when fewer than this share of known frames are as strange (its p-value).
    alpha: float = 0.05
    # Frames of a window that gets a verdict of its own.
    verdict_frames: int = 64
    # Frames that were strange before the model had adapted, kept in memory to be scored again ...
    suspects: int = 64
    # ... and the bytes that they may take; those in quarantine may take as many.
    suspect_bytes: int = 8 << 20
    # Kinds of strange things that are told apart in quarantine, with one question about each; 0: none.
    clusters: int = 32
    # How the adapt lane chooses. "facility-location": the frames that stand best for all of a window and are
    # not like those sent before. "entropy-band": each frame for itself, at once, by the next three keys.
    policy: str = "facility-location"
    # Frames of a window, from which "facility-location" chooses.
    window_frames: int = 128
    # A window that lasts longer ends early.
    window_s: float = 60.0
    # Frames of one predicted class that are held until a window ends, drawn at random ...
    reservoir_per_class: int = 16
    # ... and the memory that all of them may take.
    reservoir_bytes: int = 16 << 20
    # Distance (1 - cosine of embeddings) that a frame must keep from those sent before in its segment.
    min_novelty: float = 0.01
    # "entropy-band" takes frames whose entropy is above this, as a fraction of ln K ...
    entropy_low: float = 0.02
    # ... and below this.
    entropy_high: float = 0.6
    # Keep a frame when |cos(prediction, mean of kept ones)| is below this. With 10 classes 0.05 keeps
    # almost nothing; with 1,000 classes it is the usual choice.
    redundancy_margin: float = 0.6
    # Shares of the byte budget: the adapt lane (frames to learn from) ...
    adapt_share: float = 0.7
    # ... the ask lane (what stays strange) ...
    ask_share: float = 0.25
    # ... and the audit lane (frames at random, without which the cloud's view is biased). What a lane does
    # not spend goes to the others.
    audit_share: float = 0.05
    # Chance of a frame to be drawn for the audit, while the lane has bytes; less when they run short.
    audit_chance: float = 0.02
    # Nearer to the source than this many of the bundle's drift tolerances, and without a drift alarm, the
    # model is at home: only the audit lane uploads. What chance adds is granted. 0: it never is at home.
    min_drift: float = 1.0


class BudgetSection(Section, frozen=True):
    """[budget]: what the uplink may cost."""

    # Most that may cross the link in any hour, both ways, with what MQTT, TCP and TLS add. The cloud may set
    # another with its assignment.
    bytes_per_hour: int = 4_000_000
    # The same for any 24 hours.
    bytes_per_day: int = 64_000_000
    # Most that can be saved up and spent at once.
    burst_bytes: int = 1_000_000
    # What a young segment may borrow from the hours to come; it is paid back before others spend again.
    debt_bytes: int = 1_000_000
    # Share of what is saved and may be borrowed that one segment's adapt lane may take at once; after that it
    # lives on the rate.
    segment_share: float = 0.33
    # How many frames count as young.
    shift_frames: int = 1500


class DeliverySection(Section, frozen=True):
    """[delivery]: the outbox and its resending."""

    # Published samples that wait for the server's acknowledgement at a time.
    in_flight: int = 16
    # The same for reports and outcomes, which have places of their own.
    in_flight_reports: int = 8
    # A message sent this often without an answer waits behind all others from then on.
    yield_after_sends: int = 4
    # A sample sent this often in vain, while the server answers others, is dropped: it cannot be read there.
    drop_after_sends: int = 32
    # First pause before a message is sent again; doubles up to the maximum, with jitter.
    resend_s: float = 20.0
    # The longest such pause.
    resend_max_s: float = 600.0
    # How long a broker keeps a sample for a cloud that is away; 0: for ever. It stays in the outbox, and is
    # sent again, until the cloud has acknowledged it.
    sample_expiry_s: int = 6 * 3600
    # The same for descriptors, which say what could be sent.
    descriptor_expiry_s: int = 6 * 3600
    # The outbox drops its least valuable samples beyond this size.
    outbox_bytes: int = 256 << 20
    # "normal" survives a killed process, "full" also a power cut, at 20 times the cost.
    durability: Literal["normal", "full"] = "normal"
    # Nothing older stays on the disk: it is dropped unsent, and overwritten. 0: keep until it is delivered.
    retention_hours: float = 720.0
    # Announce a sample by a descriptor, and send it only when the cloud wants it, so that a fleet that sees
    # the same thing sends it once: "always", "never", or "auto": where a picture costs much more than that.
    descriptors_first: Literal["auto", "always", "never"] = "auto"
    # Samples are announced together: when there are this many ...
    descriptor_items: int = 64
    # ... or when the first of them has waited this long.
    descriptor_pause_s: float = 60.0
    # The cloud has this long to answer, while there is a connection; then it is asked once more ...
    want_wait_s: float = 1800.0
    # ... and then a sample is sent all the same, as the budget allows, or dropped.
    unanswered: Literal["send", "drop"] = "send"


class PrivacySection(Section, frozen=True):
    """[privacy]: what may leave the device."""

    # "images": samples go up as pictures. "embedding": only their embeddings, never a picture. "statistics":
    # no sample at all, only moments over many frames.
    mode: Literal["images", "embedding", "statistics"] = "images"
    # Pictures whose longer side is more than this many pixels are made smaller before they leave; 0: never.
    max_side: int = 0
    # Frames that are predicted as one of these classes (by name) never leave, in no lane.
    suppressed: tuple[str, ...] = ()
    # What changes a picture before it leaves, by the name of an installed plug-in (entry point group
    # "edgeadapt.redactors"), such as one that blurs faces. A picture that it fails on does not leave.
    redactor: str = ""
    # Parts of the picture that are blurred beyond recognition, each [left, top, right, bottom] as shares of
    # its width and height.
    blurred: tuple[tuple[float, float, float, float], ...] = ()


def suppressed_classes(privacy: PrivacySection, classes: Sequence[str]) -> frozenset[int]:
    """Numbers of the classes that never leave; raises ConfigError on one that the model does not know."""
    unknown = [name for name in privacy.suppressed if name not in classes]
    if unknown:
        known = ", ".join(classes[:20]) + (", ..." if len(classes) > 20 else "")
        raise ConfigError(f"privacy.suppressed: {unknown[0]!r} is no class of this model; it has {known}")
    return frozenset(number for number, name in enumerate(classes) if name in privacy.suppressed)
