"""The protocol as an AsyncAPI 3.0 document, made from the structs themselves.

`document()` describes the device: it sends what goes up and receives what comes down. Fields, types and
defaults are those of the structs (`messages`), topics those of `channels`, meanings those of `words`. What
JSON Schema cannot say of MessagePack (binary values) is said in `format` and in the description.
"""

from __future__ import annotations

import inspect
from typing import Any, get_args

import msgspec

from edgeadapt.wire.channels import CHANNELS, ChannelInfo
from edgeadapt.wire.codec import MAX_MESSAGE_BYTES
from edgeadapt.wire.messages import PROTOCOL_VERSION, AnyMessage, Command
from edgeadapt.wire.words import FIELDS, PROTOCOL

CONTENT_TYPE = "application/x-msgpack"
MESSAGES: tuple[type[AnyMessage], ...] = get_args(AnyMessage)
_PARAMETERS = {
    "fleet": "Name of the fleet: 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit.",
    "device": "Name of the device, written likewise; also its MQTT client id.",
    "asker": "Who asked, written likewise.",
    "cohort": "Name of a cohort, written likewise.",
    "channel": "Devices on 'canary' hear both.",
}
_PATCH_WORDS = (
    "MessagePack map {payload: bin, key_id: str, signature: bin}: Ed25519 over the payload's bytes. The "
    "payload is a MessagePack map {version, header, tensors, tensors_sha256, domain, thresholds}; tensors "
    "and thresholds are safetensors. At most 4 MiB."
)

Json = dict[str, Any]


def document() -> Json:
    """The AsyncAPI document; equal calls give equal documents."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "edgeadapt device protocol",
            "version": str(PROTOCOL_VERSION),
            "description": (
                "What a device sends and receives over MQTT 5. Every payload but a patch is one MessagePack "
                f"map of at most {MAX_MESSAGE_BYTES} bytes, strict: unknown fields are refused. How messages "
                "follow one another is in docs/protocol.md."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {channel.name: _channel(channel) for channel in CHANNELS},
        "operations": {_operation_name(channel): _operation(channel) for channel in CHANNELS},
        "components": {
            "messages": {kind.__name__: _message(kind) for kind in MESSAGES} | {"Patch": _patch()},
            "schemas": _schemas(),
            "parameters": {name: _parameter(name, words) for name, words in _PARAMETERS.items()},
        },
    }


def message_name(channel: ChannelInfo) -> str:
    """Name of a channel's message in the document."""
    return channel.message.__name__ if channel.message is not None else "Patch"


def _channel(channel: ChannelInfo) -> Json:
    name = message_name(channel)
    used = [parameter for parameter in _PARAMETERS if f"{{{parameter}}}" in channel.address]
    return {
        "address": channel.address,
        "summary": channel.summary,
        "parameters": {parameter: {"$ref": f"#/components/parameters/{parameter}"} for parameter in used},
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
    }


def _operation_name(channel: ChannelInfo) -> str:
    verb = "send" if channel.direction == "up" else "receive"
    return verb + channel.name[0].upper() + channel.name[1:]


def _operation(channel: ChannelInfo) -> Json:
    reference = f"#/channels/{channel.name}"
    operation: Json = {
        "action": "send" if channel.direction == "up" else "receive",
        "channel": {"$ref": reference},
        "summary": channel.summary,
        "messages": [{"$ref": f"{reference}/messages/{message_name(channel)}"}],
        "bindings": {"mqtt": {"qos": channel.qos, "retain": channel.retain, "bindingVersion": "0.2.0"}},
    }
    if channel.expires:
        operation["description"] = "Carries a Message Expiry Interval, as the sender's configuration says."
    if channel.message is Command:
        operation["reply"] = {
            "address": {
                "location": "$message.header#/responseTopic",
                "description": "Honoured only for the address of cloudReply within the device's fleet.",
            },
            "channel": {"$ref": "#/channels/cloudReply"},
        }
    return operation


def _message(kind: type[AnyMessage]) -> Json:
    name = kind.__name__
    body: Json = {
        "name": name,
        "title": name,
        "summary": _summary(kind),
        "contentType": CONTENT_TYPE,
        "payload": {"$ref": f"#/components/schemas/{name}"},
    }
    if kind is Command:
        body["headers"] = {
            "type": "object",
            "description": "MQTT 5 properties.",
            "properties": {
                "responseTopic": {"type": "string", "description": "Response Topic."},
                "correlationData": {
                    "type": "string",
                    "format": "binary",
                    "maxLength": 64,
                    "description": "Correlation Data; the reply brings it back.",
                },
            },
        }
        body["correlationId"] = {"location": "$message.header#/correlationData"}
    return body


def _patch() -> Json:
    return {
        "name": "Patch",
        "title": "Patch",
        "summary": "A signed patch.",
        "contentType": CONTENT_TYPE,
        "payload": {"type": "string", "format": "binary", "description": _PATCH_WORDS},
    }


def _parameter(name: str, words: str) -> Json:
    return {"description": words} | ({"enum": ["stable", "canary"]} if name == "channel" else {})


def _schemas() -> Json:
    _, components = msgspec.json.schema_components(MESSAGES, ref_template="#/components/schemas/{name}")
    for name, schema in components.items():
        schema["description"] = inspect.cleandoc(schema.get("description", ""))
        for field, body in schema["properties"].items():
            schema["properties"][field] = _described(name, field, body)
    return dict(sorted(components.items()))


def _described(struct: str, field: str, body: Json) -> Json:
    """A field's schema, with what it means; binary values are no base64 text."""
    if body.get("contentEncoding") == "base64":
        body = {"type": "string", "format": "binary"}
    if field == "type":
        return body | {"description": "says which message this is"}
    words = PROTOCOL if field == "protocol" else FIELDS[struct][field]
    if "$ref" in body:
        return {"allOf": [{"$ref": body["$ref"]}], "description": words}
    return body | {"description": words}


def _summary(kind: type[AnyMessage]) -> str:
    return inspect.cleandoc(kind.__doc__ or "").splitlines()[0]
