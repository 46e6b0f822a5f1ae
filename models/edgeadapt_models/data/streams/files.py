"""A rendered stream on disk, with what a device may see kept apart from the truth.

``frames.npy`` is all a device reads; ``truth.npz`` (labels, domains, corruption and severity per frame) is
for the evaluator alone; ``stream.json`` is the spec. ``stream.json`` is written last, by rename: a folder
that has it is whole.
"""

import zipfile
import zlib
from pathlib import Path

import msgspec
import numpy as np

from edgeadapt.errors import ConfigError
from edgeadapt_models.data.streams.stream import RenderedStream, StreamSpec

FRAMES_FILE = "frames.npy"
TRUTH_FILE = "truth.npz"
SPEC_FILE = "stream.json"


def write(rendered: RenderedStream, folder: Path) -> None:
    """Write the three files into ``folder`` (made if missing; an older stream there is replaced).

    Raises:
        ConfigError: the folder cannot be made or written to.
    """
    try:
        _write(rendered, folder)
    except OSError as error:
        raise ConfigError(f"cannot write the stream: {error}; name a folder that can be written") from error


def _write(rendered: RenderedStream, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SPEC_FILE).unlink(missing_ok=True)
    np.save(folder / FRAMES_FILE, rendered.frames, allow_pickle=False)
    np.savez(
        folder / TRUTH_FILE,
        labels=rendered.labels,
        domains=rendered.domains,
        domain_names=np.array(rendered.domain_names),
        corruptions=rendered.corruptions,
        severities=rendered.severities,
    )
    partial = folder / (SPEC_FILE + ".part")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(rendered.spec)) + b"\n")
    partial.replace(folder / SPEC_FILE)


def read(folder: Path) -> RenderedStream:
    """Read a folder that :func:`write` made; frames stay on disk until they are touched.

    Raises:
        ConfigError: a file is missing or damaged, or they do not belong together.
    """
    try:
        spec = msgspec.json.decode((folder / SPEC_FILE).read_bytes(), type=StreamSpec)
        frames = np.load(folder / FRAMES_FILE, mmap_mode="r", allow_pickle=False)
        with (folder / TRUTH_FILE).open("rb") as file, np.load(file, allow_pickle=False) as truth:
            return RenderedStream(
                spec=spec,
                frames=frames,
                labels=truth["labels"],
                domain_names=tuple(truth["domain_names"].tolist()),
                domains=truth["domains"],
                corruptions=truth["corruptions"],
                severities=truth["severities"],
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"{folder} is not a rendered stream: {error}") from error
