"""`edgeadapt device doctor`: what would keep the device from working here, and the fix."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from edgeadapt.errors import ConfigError
from edgeadapt_device.cli.common import CONFIG, hush_decoders, read_config
from edgeadapt_device.doctor.finding import Finding, Level, failed, ok

_FAILED = 1
_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILED: "red"}


@click.command(short_help="Look for what would keep the device from working.")
@CONFIG
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
def doctor(config_path: Path, as_json: bool) -> None:
    """Look at runtime, bundle, model, source, disk, clock, certificates, keys and broker.

    Each line says what was found, and what to do if it is not as it should be. Nothing is changed, and a
    device that runs is not disturbed. Run it as the user that the device runs as. Exits with 0 when all
    can work, and with 1 when something has failed.
    """
    hush_decoders()
    findings: list[Finding] = []
    for finding in _findings(config_path):
        findings.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(findings), indent=1).decode())
    if any(finding.level is Level.FAILED for finding in findings):
        raise SystemExit(_FAILED)


def _findings(config_path: Path) -> Iterator[Finding]:
    try:
        config = read_config(config_path)
    except ConfigError as error:
        yield failed("config", str(error), "correct it; `edgeadapt device example-config` shows every key")
        return
    yield ok("config", f"{config_path}: device {config.device.name} of fleet {config.device.fleet}")
    from edgeadapt_device.doctor import examine

    yield from examine(config)


def _show(finding: Finding) -> None:
    level = click.style(f"{finding.level.value:<9}", fg=_COLOURS[finding.level])
    click.echo(f"{level}{finding.check:<14}{finding.text}")
    if finding.fix:
        click.echo(f"{'':<9}{'':<14}fix: {finding.fix}")
