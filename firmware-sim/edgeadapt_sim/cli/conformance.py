"""`edgeadapt conformance`: options in, a table and an exit code out. The kit is imported when it runs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeadapt.errors import ConfigError

if TYPE_CHECKING:
    from edgeadapt_sim.conformance.clause import Shown
    from edgeadapt_sim.conformance.stand import Access

_FILE = click.Path(dir_okay=False, exists=True, path_type=Path)


@click.command("conformance", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--broker", required=True, metavar="HOST:PORT", help="Where the device is connected.")
@click.option("--fleet", default="default", show_default=True)
@click.option("--device", default="device", show_default=True, help="Name of the device under test.")
@click.option(
    "--bundle", type=click.Path(file_okay=False, exists=True, path_type=Path), help="What it has installed."
)
@click.option("--key", type=_FILE, help="Private key (PEM) whose public half it trusts.")
@click.option("--restart", "restart_command", help="Shell command that starts the device anew.")
@click.option("--username", default="")
@click.option("--password-file", type=_FILE)
@click.option("--tls-ca", type=_FILE, help="Turns TLS on.")
@click.option("--tls-cert", type=_FILE)
@click.option("--tls-key", type=_FILE)
@click.option("--answer-s", default=15.0, show_default=True, help="Patience for an answer.")
@click.option("--resend-s", default=60.0, show_default=True, help="Patience for what is sent again.")
@click.option("--quiet-s", default=30.0, show_default=True, help="How long nothing may come.")
@click.option("--sample-s", default=120.0, show_default=True, help="Patience for a sample or a trial.")
@click.option("--no-takeover", is_flag=True, help="Do not break the device's connection.")
@click.option("--only", multiple=True, metavar="CLAUSE", help="Only this clause; may be given several times.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdicts as JSON.")
def command(
    broker: str,
    fleet: str,
    device: str,
    bundle: Path | None,
    key: Path | None,
    restart_command: str | None,
    username: str,
    password_file: Path | None,
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    answer_s: float,
    resend_s: float,
    quiet_s: float,
    sample_s: float,
    no_takeover: bool,
    only: tuple[str, ...],
    as_json: bool,
) -> None:
    """Test a device, written in any language, against the protocol (docs/protocol.md).

    Plays the cloud: stop the real one first. The device must be running; give --bundle and --key so that it
    can be sent patches that it believes. Exit code 1 when a clause fails.
    """
    from edgeadapt.bundle import read_folder
    from edgeadapt_cloud.io import keys
    from edgeadapt_sim.conformance.clause import Patience, Trial
    from edgeadapt_sim.conformance.run import CLAUSES, fails, run
    from edgeadapt_sim.conformance.stand import Access, Stand

    if unknown := set(only) - {clause.name for clause in CLAUSES}:
        known = ", ".join(clause.name for clause in CLAUSES)
        raise ConfigError(f"--only: unknown clause {min(unknown)!r}; known: {known}")
    host, port = _address(broker)
    password = password_file.read_text().splitlines()[0] if password_file else ""
    access: Access = Access(host, port, username, password, *_names(tls_ca, tls_cert, tls_key))
    told: Callable[[Shown], None] = (lambda result: None) if as_json else _print
    with Stand(access, fleet, device) as stand:
        trial = Trial(
            stand,
            Patience(answer_s, resend_s, quiet_s, sample_s),
            bundle=read_folder(bundle) if bundle else None,
            key=keys.load(key) if key else None,
            restart=_restarting(restart_command) if restart_command else None,
            intrusive=not no_takeover,
        )
        results = run(trial, told, only)
    if as_json:
        _print_json(results)
    else:
        counts = {state: sum(r.state == state for r in results) for state in ("pass", "fail", "not shown")}
        click.echo(", ".join(f"{count} {state}" for state, count in counts.items()))
    if fails(results):
        raise click.exceptions.Exit(1)


def _address(broker: str) -> tuple[str, int]:
    host, _, port = broker.removeprefix("mqtt://").removeprefix("mqtts://").rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"--broker: expected HOST:PORT, got {broker!r}")
    return host.strip("[]"), int(port)


def _names(*paths: Path | None) -> tuple[str, ...]:
    return tuple(str(path) if path else "" for path in paths)


def _restarting(command: str) -> Callable[[], None]:
    def restart() -> None:
        done = subprocess.run(command, shell=True, check=False, timeout=120)
        if done.returncode:
            raise ConfigError(f"--restart: {command!r} ended with {done.returncode}")

    return restart


def _print(result: Shown) -> None:
    colour = {"pass": "green", "fail": "red", "not shown": "yellow"}[result.state]
    state = click.style(f"{result.state:<9}", fg=colour)
    click.echo(f"{state}  {result.name:<20}  {result.sentence}")
    if result.detail:
        click.echo(f"{'':<33}{result.detail}")


def _print_json(results: tuple[Shown, ...]) -> None:
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(results)).decode())
