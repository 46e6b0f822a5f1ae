"""Everything a demo needs on disk before its processes start: bundle, streams, keys, configurations.

The folder stays: a reader finds the TOML files there and can run every part again by hand. Bundle and
streams are made once and used again as long as they are what the plan asks for; what a run left behind
(state, predictions, logs) is removed. Labels are written only to `streams/*/truth.npz`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeadapt.bundle import Bundle, read_folder
from edgeadapt.errors import BundleError, ConfigError
from edgeadapt_cloud.adapt.strategies import STRATEGIES
from edgeadapt_cloud.io import keys
from edgeadapt_models.compile import compile_pretrained
from edgeadapt_models.data import Dataset, StreamSpec, load, render
from edgeadapt_models.data.streams.files import SPEC_FILE, read, write
from edgeadapt_models.zoo import weights_card
from edgeadapt_sim.demo.folder import own
from edgeadapt_sim.demo.plan import DemoPlan, streams

FLEET = "demo"
_MADE_BY = "made-from.json"  # beside the bundle: which weights it was compiled from

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DevicePaths:
    """One device's files.

    Attributes:
        name: device id.
        stream: folder with frames.npy (for the device) and truth.npz (for the evaluator).
        config: device.toml.
        predictions: what the device writes, frame by frame.
    """

    name: str
    stream: Path
    config: Path
    predictions: Path


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is on disk when the set-up is done; `cloud_state` is the service's state folder."""

    out: Path
    bundle: Bundle
    devices: tuple[DevicePaths, ...]
    cloud_config: Path
    cloud_state: Path
    key: Path
    logs: Path


def prepare(plan: DemoPlan, out: Path, say: Say) -> Prepared:
    """Make or find everything but the configurations.

    Args:
        plan: what to play.
        out: folder for everything.
        say: told, in words, what is being done.

    Raises:
        ConfigError: weights, strategy, data set or folder are not as needed.
        CompileError: the weights cannot be compiled.
        TransportError: the data set has to be downloaded and cannot be.
    """
    out = out.absolute()
    _check_names(plan)
    own(out)
    for stale in ("state", "predictions", "logs"):
        shutil.rmtree(out / stale, ignore_errors=True)
    for folder in ("state", "predictions", "logs", "config"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    bundle = _bundle(plan, out, say)
    devices = tuple(_device_paths(out, name) for name in streams(plan))
    _render_streams(plan, devices, say)
    key = out / "keys" / keys.KEY_NAME
    if not key.exists():
        keys.generate(key)
    state = out / "state" / "cloud"
    return Prepared(out, bundle, devices, out / "config" / "cloud.toml", state, key, out / "logs")


def _check_names(plan: DemoPlan) -> None:
    """Refuse names that nobody knows before minutes are spent on the others."""
    weights_card(plan.student)
    weights_card(plan.teacher)
    STRATEGIES.get(plan.strategy)


def configure(plan: DemoPlan, prepared: Prepared, port: int) -> None:
    """Write every process's TOML file for a broker on `port`; raises ConfigError for a damaged key."""
    public_key = keys.public_hex(keys.load(prepared.key))
    for device in prepared.devices:
        device.config.write_text(_device_toml(plan, prepared.out, device, port, public_key))
    prepared.cloud_config.write_text(_cloud_toml(plan, prepared, port))


def toml(sections: Mapping[str, Mapping[str, object]]) -> str:
    """Sections of strings, numbers, booleans and lists of them as TOML (whose scalars are JSON's here)."""
    lines = []
    for name, values in sections.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        lines.append("")
    return "\n".join(lines)


def _bundle(plan: DemoPlan, out: Path, say: Say) -> Bundle:
    folder, note = out / "bundle", out / _MADE_BY
    made_from = weights_card(plan.student).sha256
    if note.is_file() and note.read_text() == made_from:
        try:
            return read_folder(folder)
        except BundleError as error:
            say(f"the bundle of the last run is damaged and made again: {error}")
    say(f"compiling {plan.student} to a bundle")
    bundle = compile_pretrained(plan.student, folder).bundle
    note.write_text(made_from)
    return bundle


def _device_paths(out: Path, name: str) -> DevicePaths:
    return DevicePaths(
        name, out / "streams" / name, out / "config" / f"{name}.toml", out / "predictions" / f"{name}.csv"
    )


def _render_streams(plan: DemoPlan, devices: tuple[DevicePaths, ...], say: Say) -> None:
    dataset: Dataset | None = None
    for device, spec in zip(devices, streams(plan).values(), strict=True):
        if _is_rendered(device.stream, spec):
            continue
        say(f"rendering {spec.frames:,} frames for {device.name}")
        dataset = dataset or load(plan.dataset)
        write(render(spec, dataset), device.stream)


def _is_rendered(folder: Path, spec: StreamSpec) -> bool:
    if not (folder / SPEC_FILE).is_file():
        return False
    try:
        return read(folder).spec == spec
    except ConfigError:
        return False  # of an older release, or damaged: it is rendered again


def _device_toml(plan: DemoPlan, out: Path, device: DevicePaths, port: int, public_key: str) -> str:
    return toml(
        {
            "device": {
                "name": device.name,
                "fleet": FLEET,
                "bundle": str(out / "bundle"),
                "state_dir": str(out / "state" / device.name),
            },
            "mqtt": {"host": "127.0.0.1", "port": port, "reconnect_max_s": 2},
            "source": {
                "kind": "stream",
                "path": str(device.stream),
                "frames_per_second": plan.frames_per_second,
            },
            # A demo plays hours in minutes, so it pays an hour's bytes in minutes.
            "budget": {"bytes_per_hour": 24_000_000, "burst_bytes": 300_000},
            "delivery": {"resend_s": 5.0},
            "trust": {"keys": [public_key]},
            "output": {"predictions": str(device.predictions), "metric_every_s": 2.0},
            # Several devices on one machine: each takes a port of its own.
            "http": {"port": 0},
        }
    )


def _cloud_toml(plan: DemoPlan, prepared: Prepared, port: int) -> str:
    return toml(
        {
            "cloud": {"fleet": FLEET, "state_dir": str(prepared.cloud_state)},
            "mqtt": {"host": "127.0.0.1", "port": port, "reconnect_max_s": 2},
            "bundle": {
                "path": str(prepared.out / "bundle"),
                "student": plan.student,
                "teacher": plan.teacher,
                "dataset": plan.dataset,
            },
            "jobs": {"min_new": 200},
            "strategy": {"name": plan.strategy},
            "rollout": {"canary_deadline_s": 20.0},
            "signing": {"key": str(prepared.key)},
        }
    )
