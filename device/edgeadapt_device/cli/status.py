"""`edgeadapt device status`: what the device last said of itself."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click
import msgspec

from edgeadapt.wire import TrialCheck
from edgeadapt_device.cli.common import CONFIG, read_config
from edgeadapt_device.service.health import Health
from edgeadapt_device.service.seen import Seen, see
from edgeadapt_device.status import DeviceStatus

NOT_RUNNING = 3


@click.command(short_help="Show what the device is doing.")
@CONFIG
@click.option(
    "--state-dir", type=click.Path(path_type=Path), help="Look here instead of asking the configuration."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
def status(config_path: Path, state_dir: Path | None, as_json: bool) -> None:
    """Show what the device does, and whether it is well: frames, domain, generation, uploads, refusals.

    Exits with 0 while the device runs, with 3 when it does not (what is shown is then the last it said),
    and with 2 when it never ran.
    """
    if state_dir is not None:
        seen = see(state_dir, None)
    else:
        config = read_config(config_path)
        seen = see(Path(config.device.state_dir), config.http)
    found, runs, health = seen.status, seen.runs, seen.health
    if as_json:
        shown = msgspec.structs.replace(
            found,
            running=runs,
            connected=found.connected and runs,
            health=health.state,
            reasons=health.reasons,
        )
        click.echo(msgspec.json.format(msgspec.json.encode(shown), indent=1).decode())
    else:
        for name, value in [*_health(health), ("process", _process(seen)), *_rows(found, runs)]:
            click.echo(f"{name:<14}{value}")
    if not runs:
        raise SystemExit(NOT_RUNNING)


def _process(seen: Seen) -> str:
    if seen.runs:
        return f"{seen.pid}, runs; as of {seen.age_s:.0f} s ago"
    end = "ended without a goodbye" if seen.status.running else "ended"
    return f"does not run: {seen.status.pid} {end}, last seen {timedelta(seconds=round(seen.age_s))} ago"


def _health(health: Health) -> list[tuple[str, str]]:
    first, *others = health.reasons or ("",)
    head = ("health", f"{health.state}: {first}" if first else health.state)
    return [head, *(("", reason) for reason in others)]


def _evidence(line: TrialCheck) -> str:
    proof = f"e-values {line.e_harm:.3g} for harm, {line.e_safe:.3g} for none"
    return f"{line.check} {line.value:.3f}, bound {line.bound:.3f}; {proof}; {line.frames} frames"


def _source(found: DeviceStatus) -> str:
    trouble = f": {found.source_trouble}" if found.source_trouble else ""
    state = f"{found.source or 'none of its own'}{trouble}"
    return f"{state}, {found.skipped} frames skipped, {found.dropped} overtaken"


def _engine(found: DeviceStatus) -> str:
    text = f"{found.runtime} {found.provider}".strip() or "not known"
    return f"{text} ({found.fallback})" if found.fallback else text


def _generation(found: DeviceStatus) -> str:
    statistics = f"{found.updates} updates of its statistics" if found.statistics else "fixed statistics"
    return (
        f"{found.generation or 'none'}, {timedelta(seconds=round(found.generation_age_s))} old, {statistics}"
    )


def _verdicts(found: DeviceStatus) -> str:
    counts = msgspec.structs.asdict(found.verdicts)
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _strange(found: DeviceStatus) -> str:
    return (
        f"{found.suspects} wait until the model has adapted, {found.covariate} were normal then; "
        f"{found.clusters} kinds in quarantine, {found.questions} questions"
    )


def _uploads(found: DeviceStatus) -> str:
    held = f", {found.outbox_held} held until the server wants them" if found.outbox_held else ""
    return f"{found.flagged} flagged, {found.uploaded} acknowledged, {found.outbox_rows} waiting{held}"


def _broker(found: DeviceStatus, runs: bool) -> str:
    if not runs:
        return "not connected"
    where = f" to {found.broker}" if found.broker else ""
    return (
        f"connected{where}" if found.connected else f"offline{': ' if found.trouble else ''}{found.trouble}"
    )


def _segment(found: DeviceStatus) -> str:
    alarm = f"p {found.drift_p_value:.2g} for the source's domain"
    return f"{found.segment}, drift {found.drift:.2f} source deviations ({alarm})"


def _rows(found: DeviceStatus, runs: bool) -> list[tuple[str, str]]:
    rows = [
        ("broker", _broker(found, runs)),
        ("engine", _engine(found)),
        ("source", _source(found)),
        ("frames", f"{found.frames} ({found.frames_per_second:.0f}/s, {found.latency_ms:.2f} ms each)"),
        ("segment", _segment(found)),
        ("generation", _generation(found)),
        (
            "swaps",
            f"{found.swaps} of {found.builds} built, the last held frames up {found.swap_gap_ms:.0f} ms",
        ),
        ("patch", found.patch or "none"),
        ("trial", f"{found.trial or 'none'}; {found.reverts} patches taken back"),
        *(("", _evidence(line)) for line in found.evidence),
        ("verdicts", _verdicts(found)),
        ("window", found.window or "none yet"),
        ("strange", _strange(found)),
        ("uploads", _uploads(found)),
        ("bytes", f"{found.bytes_up} up, {found.bytes_down} down, {found.budget_left_bytes} left to spend"),
        ("quarantined", str(found.quarantined)),
        ("storage", f"{found.storage_errors} failed writes"),
        ("monitor", f"http://{found.http}/healthz and /metrics" if found.http and runs else "none"),
    ]
    rows += [("refused", text) for text in found.refusals]
    return rows + ([("note", found.note)] if found.note else [])
