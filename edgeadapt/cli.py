"""The `edgeadapt` command: finds the commands that each part brings, imports them only when called.

Errors that a person can act on are printed in one line with exit code 2; Ctrl-C exits with 130.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

import click

from edgeadapt import __version__
from edgeadapt.errors import EdgeAdaptError

_HELP = {
    "device": "Run the daemon on a device, and look at it.",
    "cloud": "Serve the adaptation service, and make its keys.",
    "model": "Train, compile and inspect models.",
    "data": "Fetch image data, corrupt it, render streams of domains.",
    "demo": "The whole loop on this machine: broker, cloud and devices, with a report.",
    "bench": "Benchmarks that write docs/results.",
    "conformance": "Test a device, written in any language, against the protocol.",
    "protocol": "The protocol as documents.",
}
_EXTRA = {
    "device": "device",
    "cloud": "cloud",
    "model": "cloud",
    "data": "cloud",
    "demo": "sim",
    "bench": "sim",
    "conformance": "sim",
}


class LazyCommands(click.Group):
    """A group whose commands are entry points, loaded one at a time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all installed commands, in the order of the help."""
        found = {point.name for point in entry_points(group="edgeadapt.commands")}
        return [name for name in _HELP if name in found] + sorted(found - set(_HELP))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; a missing package becomes an error that names the extra to install."""
        for point in entry_points(group="edgeadapt.commands", name=cmd_name):
            try:
                command: click.Command = point.load()
            except ModuleNotFoundError as error:
                raise _missing(cmd_name, error) from error
            return command
        return None

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; a package that it misses only then is answered in the same way."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("edgeadapt"):
                raise  # a defect of ours, not something to install
            raise _missing(ctx.invoked_subcommand or "", error) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any of them."""
        rows = [(name, _HELP.get(name, "From another package.")) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _missing(command: str, error: ModuleNotFoundError) -> click.ClickException:
    extra = _EXTRA.get(command, command)
    return click.ClickException(
        f"`edgeadapt {command}` needs package {error.name!r}: pip install 'edgeadapt[{extra}]'"
    )


@click.group(cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgeadapt")
def cli() -> None:
    """Keep a fleet of edge models accurate when their world changes.

    Try the whole loop on this machine with `edgeadapt demo`.
    """


def main() -> None:
    """Entry point; turns expected errors into one line and an exit code."""
    try:
        # Outside of its standalone mode, click catches Exit and returns the code.
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except EdgeAdaptError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(130)
    if isinstance(code, int):
        sys.exit(code)
