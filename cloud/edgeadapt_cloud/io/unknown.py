"""What devices asked about, read from the database and the blobs for a person to look at.

A *thing* is what the descriptors of one or more samples show (`core.fleet.wants`); its id is its number.
Beside these there are single pictures with ids of their own, "s" and a number: questions that came without
having been announced, and what the audit lane drew that stays strange. Reads only. Not here: the commands
(`edgeadapt_cloud.unknown`).
"""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from PIL import Image

from edgeadapt.bundle.manifest import InputSpec
from edgeadapt.errors import ConfigError, TransportError
from edgeadapt.wire import Lane
from edgeadapt_cloud.core.fleet.wants import WantKey
from edgeadapt_cloud.core.rows import WantRow
from edgeadapt_cloud.io.blobs import FolderBlobs
from edgeadapt_cloud.io.images import decode_image
from edgeadapt_cloud.io.reading import opened
from edgeadapt_cloud.io.rowcodec import DAMAGED, decode_row
from edgeadapt_cloud.io.store import DATABASE_NAME

Picture = Literal["here", "embedding", "coming", "none"]


class Sighting(msgspec.Struct, frozen=True):
    """One device's sample: `frames` that it stands for (0: not told), `seen_s` wall seconds.

    `state` is its picture's fate: as in `WantRow`, or "embedding", when it came without.
    """

    device: str
    sample: int
    frames: int
    seen_s: float
    state: str


class Unknown(msgspec.Struct, frozen=True):
    """Something that is strange to the models of the fleet.

    Attributes:
        id: to ask for it by.
        lane: "ask" or "audit".
        nearest: the known class that devices take it for, by name where that is known.
        frames: that were alike, over all devices.
        devices: that have seen it.
        first_s: when it was first told of, wall seconds.
        last_s: when last.
        picture: "here"; "embedding": it came without one; "coming"; "none".
        lonely: a single frame of a single device.
        sightings: one by one, oldest first.
        blobs: SHA-256 (hex) of the pictures that are here.
    """

    id: str
    lane: Lane
    nearest: str
    frames: int
    devices: int
    first_s: float
    last_s: float
    picture: Picture
    lonely: bool
    sightings: tuple[Sighting, ...]
    blobs: tuple[str, ...] = ()


def read_unknown(state_dir: Path, bundle: str = "", classes: Sequence[str] = ()) -> tuple[Unknown, ...]:
    """Everything that was asked about: what most devices and frames show first, what is lonely last.

    `classes` are the names of those of a bundle, by its digest; of another bundle they are numbers.

    Raises:
        ConfigError: there is no database, or it cannot be read.
    """
    with opened(state_dir / DATABASE_NAME, "ro") as db:
        try:
            found = [*_things(db, bundle, classes), *_singles(db, classes)]
        except ConfigError as error:
            raise ConfigError(f"{state_dir / DATABASE_NAME}: {error}; {DAMAGED}") from error
    found.sort(key=lambda one: (one.lonely, one.lane != "ask", -one.devices, -one.frames, -one.last_s))
    return tuple(found)


def write_pictures(one: Unknown, state_dir: Path, spec: InputSpec, out: Path) -> list[Path]:
    """Write the pictures that are here as PNG files `unknown-ID-N.png` in `out`; returns their paths.

    Raises:
        ConfigError: there is none, or it is not a picture, or it cannot be read or written.
    """
    if not one.blobs:
        raise ConfigError(f"{one.id}: no picture is here ({one.picture})")
    blobs, paths = FolderBlobs(state_dir / "blobs"), list[Path]()
    try:
        out.mkdir(parents=True, exist_ok=True)
        for number, digest in enumerate(one.blobs, 1):
            data = blobs.get(digest)
            pixels = decode_image(data, spec) if data is not None else None
            if pixels is None:
                why = "it is lost or damaged" if data is None else "the bundle's input is no picture like it"
                raise ConfigError(f"{one.id}: picture {digest[:12]} cannot be shown: {why}")
            sink = io.BytesIO()
            Image.fromarray(pixels[:, :, 0] if spec.channels == 1 else pixels).save(sink, "PNG")
            paths.append(out / f"unknown-{one.id}-{number}.png")
            paths[-1].write_bytes(sink.getvalue())
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written: {error}") from error
    except TransportError as error:
        raise ConfigError(str(error)) from error
    return paths


def _things(db: sqlite3.Connection, bundle: str, classes: Sequence[str]) -> Iterable[Unknown]:
    stored = {
        (device, outbox, sample): (digest, codec)
        for device, outbox, sample, digest, codec in db.execute(
            "SELECT device, outbox, sequence, sha256, codec FROM samples JOIN messages USING (arrival)"
            " WHERE lane = 'ask'"
        )
    }
    things: dict[int, list[WantRow]] = {}
    for (body,) in db.execute("SELECT body FROM wants WHERE lane = 'ask' ORDER BY rowid"):
        row = decode_row(body, WantRow)
        things.setdefault(row.thing, []).append(row)
    for number, rows in things.items():
        rows.sort(key=lambda row: row.asked_s)
        came = {row.key: stored[row.key] for row in rows if row.key in stored}
        yield _unknown(number, rows, came, classes if rows[0].bundle == bundle else ())


def _unknown(
    number: int, rows: list[WantRow], came: dict[WantKey, tuple[str, str]], classes: Sequence[str]
) -> Unknown:
    blind = {key for key, (_, codec) in came.items() if codec == "none"}
    frames, devices = sum(row.members for row in rows), len({row.device for row in rows})
    picture: Picture = "coming" if any(row.state == "wanted" for row in rows) else "none"
    if came:
        picture = "here" if came.keys() - blind else "embedding"
    votes = [row.predicted for row in rows for _ in range(min(row.members, 1000))] or [rows[0].predicted]
    return Unknown(
        id=str(number),
        lane="ask",
        nearest=_name(max(sorted(set(votes)), key=votes.count), classes),
        frames=frames,
        devices=devices,
        first_s=rows[0].asked_s,
        last_s=rows[-1].asked_s,
        picture=picture,
        lonely=devices == 1 and frames <= 1,
        sightings=tuple(
            Sighting(r.device, r.sample, r.members, r.asked_s, "embedding" if r.key in blind else r.state)
            for r in rows
        ),
        blobs=tuple(dict.fromkeys(came[row.key][0] for row in rows if row.key in came.keys() - blind)),
    )


def _singles(db: sqlite3.Connection, classes: Sequence[str]) -> Iterable[Unknown]:
    found = db.execute(
        "SELECT samples.arrival, messages.device, messages.sequence, received_s, samples.lane, codec, sha256,"
        " predicted FROM samples JOIN messages USING (arrival) LEFT JOIN wants ON wants.device ="
        " messages.device AND wants.outbox = messages.outbox AND wants.sample = messages.sequence"
        " WHERE wants.thing IS NULL"
        " AND (samples.lane = 'ask' OR (samples.lane = 'audit' AND verdict = 'unknown'))"
    )
    for arrival, device, sample, when_s, lane, codec, digest, predicted in found:
        pictured = codec != "none"
        yield Unknown(
            id=f"s{arrival}",
            lane=lane,
            nearest=_name(predicted, classes),
            frames=1,
            devices=1,
            first_s=when_s,
            last_s=when_s,
            picture="here" if pictured else "embedding",
            lonely=lane == "audit",  # a question stands for a cluster, of a size that was not told
            sightings=(Sighting(device, sample, 0, when_s, "received" if pictured else "embedding"),),
            blobs=(digest,) if pictured else (),
        )


def _name(predicted: int, classes: Sequence[str]) -> str:
    if 0 <= predicted < len(classes):
        return classes[predicted]
    return f"class {predicted}" if predicted >= 0 else "-"
