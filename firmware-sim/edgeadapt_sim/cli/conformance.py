"""`edgeadapt conformance`: options in, a table and an exit code out. The kit is imported when it runs."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from edgeadapt.errors import ConfigError

if TYPE_CHECKING:
    from edgeadapt_sim.conformance.access import Access
    from edgeadapt_sim.conformance.clause import Shown

_COLOURS = {"pass": "green", "fail": "red", "not shown": "yellow"}
_RESTART_S = 120
_FILE = click.Path(dir_okay=False, exists=True, path_type=Path)


@click.command("conformance", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--broker", required=True, metavar="HOST:PORT", help="The broker of the device.")
@click.option("--fleet", default="default", show_default=True, help="Its fleet.")
@click.option("--device", default="device", show_default=True, help="Its name.")
@click.option(
    "--bundle",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Folder of the bundle that it has installed.",
)
@click.option("--key", type=_FILE, help="Private key (PEM); the device trusts its public half.")
@click.option("--restart", "restart_command", metavar="COMMAND", help="Starts it anew, in a shell.")
@click.option("--username", default="", help="For the broker, if it wants one.")
@click.option("--password-file", type=_FILE, help="The password is its first line.")
@click.option("--tls-ca", type=_FILE, help="Who signed the broker's certificate. Turns TLS on.")
@click.option("--tls-cert", type=_FILE, help="The kit's own certificate.")
@click.option("--tls-key", type=_FILE, help="Its private key.")
@click.option("--answer-s", default=15.0, show_default=True, help="Seconds to wait for an answer.")
@click.option("--resend-s", default=60.0, show_default=True, help="Seconds to wait for what is sent again.")
@click.option(
    "--sample-s", default=120.0, show_default=True, help="Seconds to wait for a sample or a trial's end."
)
@click.option("--quiet-s", default=30.0, show_default=True, help="Seconds in which nothing may come.")
@click.option("--no-takeover", is_flag=True, help="Do not break the device's connection.")
@click.option("--only", multiple=True, metavar="CLAUSE", help="Only this clause (repeatable).")
@click.option("--strict", is_flag=True, help="Exit with 1 if one was not shown, too.")
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
    strict: bool,
    as_json: bool,
) -> None:
    """Test a running device, written in any language, against the protocol.

    Plays the cloud, so stop the real one first. Give --bundle and --key, so that the device can be sent
    patches that it believes, and --restart, so that it can be seen to come back. Each clause of
    docs/conformance.md passes, fails or is not shown (nothing of the kind was seen).

    Exit code 0: none failed. 1: one failed. 2: the kit could not begin or go on.
    """
    from edgeadapt.bundle import read_folder
    from edgeadapt_cloud.io import keys
    from edgeadapt_sim.conformance.access import Access
    from edgeadapt_sim.conformance.clause import Patience, Trial
    from edgeadapt_sim.conformance.run import CLAUSES, fails, run
    from edgeadapt_sim.conformance.stand import Stand

    if unknown := set(only) - {clause.name for clause in CLAUSES}:
        known = ", ".join(clause.name for clause in CLAUSES)
        raise ConfigError(f"--only: unknown clause {min(unknown)!r}; known: {known}")
    host, port = _address(broker, tls_ca is not None)
    password = _password(password_file) if password_file else ""
    access: Access = Access(host, port, username, password, *_names(tls_ca, tls_cert, tls_key))
    told: Callable[[Shown], None] = (lambda result: None) if as_json else _print
    installed, signing = read_folder(bundle) if bundle else None, keys.load(key) if key else None
    with _ended_in_order(), Stand(access, fleet, device) as stand:
        trial = Trial(
            stand,
            Patience(answer_s, resend_s, quiet_s, sample_s),
            bundle=installed,
            key=signing,
            restart=_restarting(restart_command) if restart_command else None,
            intrusive=not no_takeover,
        )
        results = run(trial, told, only)
    if as_json:
        _print_json(results)
    else:
        click.echo(_summary(results))
    if fails(results) or (strict and any(result.state != "pass" for result in results)):
        raise click.exceptions.Exit(1)


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM ends it as Ctrl-C does: what is retained at the broker is taken back first."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _address(broker: str, secure: bool) -> tuple[str, int]:
    if broker.startswith("mqtts://") and not secure:
        raise ConfigError("--broker mqtts://...: TLS needs --tls-ca, who signed the broker's certificate")
    host, _, port = broker.removeprefix("mqtt://").removeprefix("mqtts://").rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"--broker: expected HOST:PORT, got {broker!r}")
    return host.strip("[]"), int(port)


def _password(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines()
    if not lines:
        raise ConfigError(f"--password-file: {path} is empty")
    return lines[0]


def _names(*paths: Path | None) -> tuple[str, ...]:
    return tuple(str(path) if path else "" for path in paths)


def _restarting(command: str) -> Callable[[], None]:
    def restart() -> None:
        try:
            done = subprocess.run(command, shell=True, check=False, timeout=_RESTART_S)
        except subprocess.TimeoutExpired as error:
            raise ConfigError(
                f"--restart: {command!r} has not ended after {_RESTART_S} s (it must not wait for the device)"
            ) from error
        if done.returncode:
            raise ConfigError(f"--restart: {command!r} ended with {done.returncode}")

    return restart


def _print(result: Shown) -> None:
    state = click.style(f"{result.state:<9}", fg=_COLOURS[result.state])
    click.echo(f"{state}  {result.name:<20}  {result.sentence}")
    # What was seen, below what it is about, so that a line fits a terminal.
    if result.detail:
        click.echo(f"{'':<11}{result.detail}")


def _summary(results: tuple[Shown, ...]) -> str:
    counts = ", ".join(f"{sum(r.state == state for r in results)} {state}" for state in _COLOURS)
    failed = [result.name for result in results if result.state == "fail"]
    return f"{counts}{': ' if failed else ''}{', '.join(failed)}"


def _print_json(results: tuple[Shown, ...]) -> None:
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(results)).decode())
