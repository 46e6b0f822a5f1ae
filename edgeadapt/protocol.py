"""`edgeadapt protocol`: the documents of the wire, printed."""

from __future__ import annotations

import click
import msgspec


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def group() -> None:
    """Print the protocol between devices and cloud, for machines and for people.

    \b
    edgeadapt protocol asyncapi > docs/protocol/asyncapi.json
    edgeadapt protocol messages > docs/protocol/messages.md
    """


@group.command(short_help="As an AsyncAPI 3.0 document (JSON).")
def asyncapi() -> None:
    """Print an AsyncAPI 3.0 document, made from the messages themselves."""
    from edgeadapt.wire.asyncapi import document

    click.echo(msgspec.json.format(msgspec.json.encode(document()), indent=2).decode())


@group.command(short_help="As tables (Markdown).")
def messages() -> None:
    """Print every topic and every message with its fields, as Markdown."""
    from edgeadapt.wire.markdown import markdown

    click.echo(markdown(), nl=False)
