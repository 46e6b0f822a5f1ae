"""The documents of the protocol are made from it, current and complete; the golden bytes stay as they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from click.testing import CliRunner

from edgeadapt.protocol import group
from edgeadapt.wire import AnyMessage, DownMessage, UpMessage, decode, encode, topics
from edgeadapt.wire.asyncapi import document
from edgeadapt.wire.channels import CHANNELS
from edgeadapt.wire.examples import EXAMPLES, smallest
from edgeadapt.wire.words import FIELDS
from tests.core.golden import remake

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "protocol"
KINDS: tuple[type[AnyMessage], ...] = get_args(AnyMessage)


@pytest.mark.parametrize(("command", "name"), [("asyncapi", "asyncapi.json"), ("messages", "messages.md")])
def test_the_committed_documents_are_current(command: str, name: str) -> None:
    printed = CliRunner().invoke(group, [command]).output
    assert printed == (DOCS / name).read_text(), f"edgeadapt protocol {command} > docs/protocol/{name}"


def references(part: Any) -> list[str]:
    """Every $ref in a document."""
    if isinstance(part, dict):
        own = [part["$ref"]] if "$ref" in part else []
        return own + [found for value in part.values() for found in references(value)]
    return [found for value in part for found in references(value)] if isinstance(part, list) else []


def test_every_reference_in_the_document_leads_somewhere() -> None:
    made = document()
    found = references(made)
    assert len(found) > 40
    for reference in found:
        place: Any = made
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
        assert place


def test_every_message_and_every_topic_has_a_channel_of_its_direction() -> None:
    up = {channel.message for channel in CHANNELS if channel.direction == "up"}
    down = {channel.message for channel in CHANNELS if channel.direction == "down"}
    assert up == set(get_args(UpMessage))
    assert down == set(get_args(DownMessage)) | {None}
    ends = {channel.address.split("/up/")[1] for channel in CHANNELS if "{device}/up/" in channel.address}
    assert ends == set(topics.UP_KINDS)
    ends = {channel.address.split("/down/")[1] for channel in CHANNELS if "/down/" in channel.address}
    assert ends == set(topics.DOWN_KINDS)


def test_every_address_is_a_topic_of_ours() -> None:
    for channel in CHANNELS:
        filled = channel.address.format(
            fleet="f", device="camera-1", cohort="c1", channel="stable", asker="tool"
        )
        assert topics.split(filled), filled
    assert len({channel.address for channel in CHANNELS}) == len(CHANNELS)


def test_every_field_of_every_struct_is_described() -> None:
    structs = document()["components"]["schemas"]
    described = {name: set(fields) for name, fields in FIELDS.items()}
    there = {name: set(schema["properties"]) - {"type", "protocol"} for name, schema in structs.items()}
    assert described == there, "edgeadapt/wire/words.py says what fields mean"


def test_binary_fields_are_said_to_be_binary() -> None:
    schemas = document()["components"]["schemas"]
    assert schemas["Sample"]["properties"]["data"]["format"] == "binary"
    assert "base64" not in str(schemas)


# Golden bytes


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_there_is_one_example_of_every_message_with_every_option_set(kind: type[AnyMessage]) -> None:
    (example,) = [message for message in EXAMPLES if type(message) is kind]
    least = smallest(example)
    for field in msgspec.structs.fields(kind):
        if field.default is not msgspec.NODEFAULT and field.name != "protocol":
            assert getattr(example, field.name) != getattr(least, field.name), field.name


def names() -> list[str]:
    return sorted(path.stem for path in remake.FOLDER.glob("*.msgpack"))


def test_there_is_a_golden_file_for_every_example() -> None:
    assert names() == sorted(remake.cases())


@pytest.mark.parametrize("name", names())
def test_golden_bytes_stay_as_they_are(name: str) -> None:
    data = (remake.FOLDER / f"{name}.msgpack").read_bytes()
    message = remake.cases()[name]
    assert encode(message) == data, "the wire has changed: see tests/core/golden/remake.py"
    assert decode(data) == message
    assert remake.readable(message) == (remake.FOLDER / f"{name}.json").read_text(), "the words beside it"


def test_the_manual_names_every_message_and_the_rule_for_a_new_version() -> None:
    manual = (ROOT / "docs" / "protocol.md").read_text()
    for kind in KINDS:
        assert re.search(rf"\b{kind.__name__}\b", manual), kind.__name__
    assert "## A second version" in manual
