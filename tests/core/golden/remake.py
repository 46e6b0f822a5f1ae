"""Write the golden files anew: `python -m tests.core.golden.remake`.

Two for every message: `status.msgpack` with every optional field set, `status-least.msgpack` with none. The
JSON beside each says what it holds, with binary values in hex. Bytes that were released must never change:
a message of another form belongs to another version of the protocol (docs/protocol.md).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from edgeadapt.wire import AnyMessage, encode
from edgeadapt.wire.examples import EXAMPLES, smallest

FOLDER = Path(__file__).parent


def cases() -> dict[str, AnyMessage]:
    """File name to message; what has no optional field comes once."""
    found: dict[str, AnyMessage] = {}
    for message in EXAMPLES:
        name = str(message.__struct_config__.tag)
        found[name] = message
        if smallest(message) != message:
            found[f"{name}-least"] = smallest(message)
    return found


def readable(message: AnyMessage) -> str:
    """A message as JSON."""

    def in_words(value: Any) -> Any:
        if isinstance(value, bytes):
            return f"hex {value.hex()}"
        if isinstance(value, dict):
            return {key: in_words(part) for key, part in value.items()}
        return [in_words(part) for part in value] if isinstance(value, (list, tuple)) else value

    # With bytes kept as bytes, which JSON cannot hold.
    plain = msgspec.to_builtins(message, builtin_types=(bytes,))
    return msgspec.json.format(msgspec.json.encode(in_words(plain)), indent=2).decode() + "\n"


def main() -> None:
    """Replace all files."""
    for old in (*FOLDER.glob("*.msgpack"), *FOLDER.glob("*.json")):
        old.unlink()
    for name, message in cases().items():
        (FOLDER / f"{name}.msgpack").write_bytes(encode(message))
        (FOLDER / f"{name}.json").write_text(readable(message))
    sys.stdout.write(f"{len(cases())} messages in {FOLDER}\n")


if __name__ == "__main__":
    main()
