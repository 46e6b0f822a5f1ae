"""Everything that can be set on the adaptation service, one frozen struct per part.

Structs and their checks only: reading the file and the environment belongs to `cli`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

import msgspec

from edgeadapt.descriptor import ALIKE
from edgeadapt.errors import ConfigError
from edgeadapt.wire.topics import check_name


class CloudSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The service itself."""

    # Name of the fleet that it serves; the same as in the devices' configuration.
    fleet: str = "default"
    # Folder for the database, the samples and the status; made when it is not there.
    state_dir: str = "cloud-state"
    # Messages taken in per database transaction, at most.
    batch: int = 256
    # Acknowledgements of one device are collected for this long before they are sent.
    ack_delay_s: float = 0.1
    # Rejected messages kept for a look, at most; all are counted.
    quarantine_kept: int = 1000


class MqttSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The broker."""

    # Where the broker listens.
    host: str = "127.0.0.1"
    port: int = 1883
    # MQTT client id; two services with one id would throw each other out.
    client_id: str = "edgeadapt-cloud"
    # Seconds of silence after which either side gives the connection up.
    keepalive_s: int = 30
    # How long the broker keeps what arrives while the service is away.
    session_expiry_s: int = 86400
    # User name, if the broker asks for one.
    username: str = ""
    # File that holds the password on its first line.
    password_file: str = ""
    # CA certificate (PEM); giving one turns TLS on.
    tls_ca: str = ""
    # This service's certificate and key (PEM), for mutual TLS.
    tls_cert: str = ""
    tls_key: str = ""
    # Longest pause between two attempts to connect.
    reconnect_max_s: int = 10
    # Messages that may wait to be taken in; more are dropped, and the devices send them again.
    inbox: int = 20000


class AnnounceSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Telling devices on the local network where the broker is (DNS-SD), so that they need not be told."""

    # True announces; `edgeadapt cloud serve --announce` does so, too.
    enabled: bool = False
    # Addresses to announce; empty for this machine's when the broker is on it, else those of mqtt.host.
    addresses: tuple[str, ...] = ()
    # Port that devices connect to; 0 for mqtt.port.
    port: int = 0
    # True when that port speaks TLS: devices with a CA look for such brokers, others for those without.
    secure: bool = False
    # Addresses of the interfaces to announce on; empty for all.
    interfaces: tuple[str, ...] = ()


class BundleSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the fleet runs, and what teaches it."""

    # Folder of the bundle that the devices have installed.
    path: str
    # Zoo name of the student that the bundle was compiled from.
    student: str = "fashion-mnist/resnet8"
    # Zoo name of the teacher.
    teacher: str = "fashion-mnist/teacher"
    # Data set that both were trained on: source replay and the gate's labelled holdout.
    dataset: str = "fashion-mnist"
    # Folder of that data set; empty for its usual place.
    dataset_root: str = ""


class CohortConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How devices in the same domain are found. Distances are in whitened source deviations."""

    # A new segment joins the nearest cohort within this distance, else it founds one. To this and the
    # next, the chance distance of two windows is added: sqrt(1/n + 1/m) for n and m frames.
    join_distance: float = 0.25
    # A segment leaves its cohort only when a later report is farther than this.
    leave_distance: float = 0.4
    # Reports over fewer frames are kept but not clustered.
    min_frames: int = 16
    # A cohort's centroid remembers this many frames.
    centroid_frames: int = 4096
    # With this many cohorts, a new domain takes the place of one that nobody is in and that has no patch;
    # while there is none, its segment stays unassigned.
    max_cohorts: int = 256
    # Upload budget sent to devices with their cohort; leave it out to keep the device's own.
    budget_bytes_per_hour: int | None = None


class JobConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When adaptation jobs start."""

    # Samples that a cohort needs before its first job.
    min_new: int = 256
    # Its next job starts when its samples have grown by this factor, and by at least `min_new` / 4.
    growth: float = 1.5
    # Newest samples that one job gets, at most.
    max_samples: int = 4096
    # Jobs under way at the same time, over all cohorts. They share one teacher and run one after another:
    # a second one only waits in line with the samples that its cohort had when it became due.
    max_concurrent: int = 1
    # Cohorts nearer to the source than this (whitened source deviations) need no adaptation. By chance alone
    # 200 frames of the source lie 0.07 away.
    min_drift: float = 0.1


class WantsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which of the samples that devices announce they are to send."""

    # How many samples of the same thing are wanted, from the whole fleet.
    copies: int = 1
    # Cosine of two descriptors above which their samples show the same thing.
    alike: float = ALIKE
    # A wanted sample that does not come within this long frees its place for another device's.
    patience_s: float = 3600.0
    # Things that are remembered, at most; beyond it those not seen longest are forgotten.
    kept: int = 16384


class RolloutConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a patch reaches a cohort."""

    # Send a patch to one device first and wait for its trial.
    canary: bool = True
    # A canary that says nothing for this long halts the rollout.
    canary_deadline_s: float = 900.0
    # After a patch is out: halt when more than this share of the devices that judged it reverted it ...
    max_reverted_share: float = 0.34
    # ... and at least this many did.
    min_reverted: int = 2
    # Devices refuse a patch that is older than this.
    patch_lifetime_s: float = 30 * 86400.0


class StrategySection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How patches are made."""

    # One of the registered strategies.
    name: str = "anchored"
    # Its options, checked against the strategy's own settings when the service starts.
    options: dict[str, Any] = {}


class GateSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a patch has to pass."""

    # The gate's options, checked against its own settings when the service starts.
    options: dict[str, Any] = {}


class SigningSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who vouches for patches."""

    # Ed25519 private key (PEM), as made by `edgeadapt cloud keygen`.
    key: str


class CloudConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of `cloud.toml`."""

    bundle: BundleSection
    signing: SigningSection
    cloud: CloudSection = CloudSection()
    mqtt: MqttSection = MqttSection()
    announce: AnnounceSection = AnnounceSection()
    cohorts: CohortConfig = CohortConfig()
    wants: WantsConfig = WantsConfig()
    jobs: JobConfig = JobConfig()
    strategy: StrategySection = StrategySection()
    gate: GateSection = GateSection()
    rollout: RolloutConfig = RolloutConfig()


# Beyond this, a number fits neither a database nor a clock.
_LARGEST = float(1 << 53)
_AT_LEAST = {
    "cloud.batch": 1,
    "cloud.ack_delay_s": 0,
    "cloud.quarantine_kept": 0,
    "mqtt.port": 1,
    "mqtt.keepalive_s": 1,
    "mqtt.session_expiry_s": 0,
    "mqtt.reconnect_max_s": 1,
    "mqtt.inbox": 1,
    "announce.port": 0,
    "cohorts.min_frames": 1,
    "cohorts.centroid_frames": 8,
    "cohorts.max_cohorts": 1,
    "cohorts.budget_bytes_per_hour": 0,
    "wants.copies": 1,
    "wants.alike": 0,
    "wants.kept": 1,
    "jobs.min_new": 1,
    "jobs.max_concurrent": 1,
    "jobs.min_drift": 0,
    "rollout.max_reverted_share": 0,
    "rollout.min_reverted": 1,
}
_MORE_THAN = {
    "cohorts.join_distance": 0,
    "wants.patience_s": 0,
    "jobs.growth": 1,
    "rollout.canary_deadline_s": 0,
    "rollout.patch_lifetime_s": 0,
}
_AT_MOST = {
    "mqtt.port": 65535,
    "announce.port": 65535,
    "mqtt.keepalive_s": 65535,
    "mqtt.session_expiry_s": 0xFFFFFFFF,
    "wants.alike": 1,
    "wants.kept": 1_000_000,
    "rollout.max_reverted_share": 1,
}
_NEVER_EMPTY = {
    "cloud.state_dir",
    "mqtt.host",
    "bundle.path",
    "bundle.student",
    "bundle.teacher",
    "bundle.dataset",
    "strategy.name",
    "signing.key",
}


def check(config: CloudConfig) -> CloudConfig:
    """Return `config`; raises ConfigError that names the key whose value makes no sense."""
    check_name(config.cloud.fleet, "cloud.fleet")
    check_name(config.mqtt.client_id, "mqtt.client_id")
    for key, value in _leaves(msgspec.structs.asdict(config)):
        fault = _fault(key, value)
        if fault:
            raise ConfigError(f"{key}: {fault}")
    for key in ("addresses", "interfaces"):
        _check_addresses(f"announce.{key}", getattr(config.announce, key))
    if config.cohorts.leave_distance < config.cohorts.join_distance:
        raise ConfigError("cohorts.leave_distance: must be at least join_distance")
    if config.jobs.max_samples < config.jobs.min_new:
        raise ConfigError("jobs.max_samples: must be at least min_new")
    return config


def _check_addresses(key: str, addresses: tuple[str, ...]) -> None:
    for number, address in enumerate(addresses):
        try:
            ipaddress.ip_address(address)
        except ValueError as error:
            raise ConfigError(f"{key}[{number}]: expected a numeric address: {error}") from error


def _leaves(section: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its dotted key, those of options included."""
    for name, value in section.items():
        if isinstance(value, msgspec.Struct):
            value = msgspec.structs.asdict(value)
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _fault(key: str, value: Any) -> str:
    """What is wrong with a value, or ""."""
    if isinstance(value, str):
        return "must not be empty" if key in _NEVER_EMPTY and not value.strip() else ""
    if not isinstance(value, (int, float)):
        return ""
    if not -_LARGEST <= value <= _LARGEST:  # not a number is not within anything
        return f"{value} is no number that can be used"
    low, above, high = _AT_LEAST.get(key), _MORE_THAN.get(key), _AT_MOST.get(key)
    if low is not None and high is not None and not low <= value <= high:
        return f"must be {low} to {high}"
    if low is not None and value < low:
        return f"must be at least {low}"
    if above is not None and value <= above:
        return f"must be more than {above}"
    return ""
