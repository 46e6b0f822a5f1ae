"""Compiles here, runs on ARM, and holds one against the other: `make arm` calls this after `scripts/arm.sh`.

    python -m tests.arm.run OUT      OUT holds `root` and `site`, as the script leaves them

An emulator is some hundred times slower than the processor it runs on: what is shown is that everything
works and gives the same answers, not how fast.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from PIL import Image
from rich.console import Console
from rich.table import Table

from edgeadapt.bundle import Bundle, InputSpec, read_folder
from edgeadapt.patch import PatchHeader, TrustedKeys, open_envelope, seal
from edgeadapt.wire import Sample, decode
from edgeadapt_device.config import EngineSection
from edgeadapt_device.io.engines import open_engine
from edgeadapt_device.status import read_status
from edgeadapt_models.compile import compile_module, tiny_images, tiny_module
from edgeadapt_models.compile.source.frames import Frames
from edgeadapt_models.compile.targets import TargetRequest

REPOSITORY = Path(__file__).resolve().parents[2]
QEMU = "qemu-aarch64-static"
FRAMES = 6
# Of the largest value of an output.
TOLERANCE = 1e-5
_FIRST_SAMPLE_S = 300.0
_STOP_S = 120.0
_POLL_S = 0.05
_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_DEVICE = "from edgeadapt_device.cli import group; group()"
_CONFIG = """\
[device]
name = "emulated"
bundle = "{job}/bundle"
state_dir = "{state}"
[source]
path = "{job}/stream"
frames_per_second = 20.0
loop = true
[engine]
runtime = "{runtime}"
precision = "{precision}"
[mqtt]
port = 9
[flagging]
audit_chance = 1.0
[http]
enabled = false
[trust]
keys = ["{key}"]
"""
Results = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Board:
    """A processor: its core as the emulator names it, and as Linux would describe it.

    The runtimes choose their kernels by that description: they end on one of another kind of processor, and
    on instructions that it claims and that the emulated core lacks.
    """

    name: str
    core: str
    part: str
    features: str

    def cpuinfo(self) -> str:
        """Text of /proc/cpuinfo."""
        return (
            f"processor\t: 0\nBogoMIPS\t: 100.00\nFeatures\t: {self.features}\nCPU implementer\t: 0x41\n"
            f"CPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: {self.part}\nCPU revision\t: 1\n"
        )


BOARDS = (
    # Without dot products of 8 bits.
    Board("Raspberry Pi 4 (Cortex-A72)", "cortex-a72", "0xd08", "fp asimd evtstrm crc32 cpuid"),
    Board(
        "Raspberry Pi 5 (Cortex-A76)",
        "cortex-a76",
        "0xd0b",
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
    ),
)


@dataclass(frozen=True, slots=True)
class Emulated:
    """Debian for ARM in a folder, with the device's packages beside it, on one of the boards at a time."""

    folder: Path
    board: Board

    def boot(self) -> None:
        """Make this board the one that is emulated."""
        path = self.folder / "root" / "proc" / "cpuinfo"
        path.parent.mkdir(exist_ok=True)
        path.write_text(self.board.cpuinfo())

    def command(self, *words: str) -> list[str]:
        """Python on ARM."""
        python = self.folder / "root" / "usr" / "bin" / "python3.11"
        return [QEMU, "-cpu", self.board.core, "-L", str(self.folder / "root"), str(python), *words]

    @property
    def environ(self) -> dict[str, str]:
        """Only the device's packages, and ours as they are in the working tree."""
        paths = (self.folder / "site", REPOSITORY, REPOSITORY / "device")
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "PYTHONDONTWRITEBYTECODE": "1",
        }


def compile_here(job: Path) -> Bundle:
    """A bundle for both runtimes in both precisions, frames to score, a patch and its key, in `job`."""
    images, labels = tiny_images(400)
    compile_module(
        tiny_module(),
        name="tiny-arm",
        classes=[f"pattern-{index}" for index in range(10)],
        spec=InputSpec((1, 28, 28)),
        data=Frames(images, labels),
        out=job / "bundle",
        targets=TargetRequest(frozenset({"onnx", "tflite"}), int8=True),
    )
    bundle = read_folder(job / "bundle")
    np.save(job / "frames.npy", tiny_images(FRAMES, seed=7)[0])
    (job / "stream").mkdir()
    np.save(job / "stream" / "frames.npy", (0.6 * tiny_images(200, seed=8)[0]).astype(np.uint8))
    rng = np.random.default_rng(1)
    values = {
        slot.name: np.clip(
            bundle.slots[slot.name] * rng.uniform(0.9, 1.1, slot.shape), slot.lower, slot.upper
        ).astype(np.float32)
        for slot in bundle.manifest.slots
        if slot.kind.startswith("norm")
    }
    header = PatchHeader(bundle.digest, "c1", 1, 1.8e9, 1.9e9, "test", 100, ())
    (job / "patch").write_bytes(seal(header, values, np.zeros(0, np.float32), _KEY))
    (job / "key").write_bytes(_public_key())
    return bundle


def _public_key() -> bytes:
    return _KEY.public_key().public_bytes_raw()


def run_here(job: Path, bundle: Bundle) -> Results:
    """What this machine's processor says, by the same engines."""
    frames, results = np.load(job / "frames.npy"), Results()
    patch = open_envelope((job / "patch").read_bytes(), TrustedKeys([_public_key()]))
    for artifact in bundle.manifest.artifacts:
        engine = open_engine(bundle, EngineSection(runtime=artifact.runtime, precision=artifact.precision))
        for name, values in (("base", {}), ("patched", patch.values)):
            session = engine.build(values)
            scores = session.run(frames, probe=True)
            for output in ("logits", "embedding", "mean", "mean_square"):
                results[f"{artifact.title}/{name}/{output}"] = getattr(scores, output)
            results[f"{artifact.title}/{name}/alone"] = session.run(frames[:1], probe=False).logits
    return results


def run_there(arm: Emulated, job: Path) -> Results:
    """What ARM says; what it prints is shown as it comes."""
    script, out = Path(__file__).with_name("on_device.py"), job / "there.npz"
    subprocess.run(arm.command(str(script), str(job), str(out)), env=arm.environ, check=True)
    with np.load(out) as found:
        return {name: found[name] for name in found.files}


@dataclass(frozen=True, slots=True)
class Compared:
    """One artifact with some values: of each output the largest difference over the largest value."""

    title: str
    differences: dict[str, float]

    @property
    def good(self) -> bool:
        """True within the tolerance."""
        return all(difference <= TOLERANCE for difference in self.differences.values())


def compare(here: Results, there: Results) -> list[Compared]:
    """Every artifact; raises KeyError when an output is missing."""
    found: dict[str, dict[str, float]] = {}
    for name, wanted in here.items():
        title, values, output = name.split("/")
        difference = np.abs(there[name] - wanted).max() / np.abs(wanted).max()
        found.setdefault(f"{title}, {values}", {})[output] = float(difference)
    return [Compared(title, differences) for title, differences in found.items()]


def show(board: Board, rows: list[Compared], console: Console) -> None:
    """A line for each artifact; what equals to the bit is said so."""
    table = Table("artifact", *rows[0].differences, "", title=board.name, title_justify="left")
    for row in rows:
        cells = (f"{difference:.0e}" if difference else "equal" for difference in row.differences.values())
        table.add_row(row.title, *cells, "ok" if row.good else "[red]FAILED[/red]")
    console.print(table)


@contextmanager
def daemon(arm: Emulated, job: Path, runtime: str, precision: str) -> Iterator[tuple[Path, float]]:
    """The command line's daemon on ARM: (its state folder, the second at which it was started)."""
    state = job / f"state-{runtime}-{precision}"
    config = job / "device.toml"
    key = _public_key().hex()
    config.write_text(_CONFIG.format(job=job, state=state, runtime=runtime, precision=precision, key=key))
    began_s = time.monotonic()
    process = subprocess.Popen(
        arm.command("-c", _DEVICE, "run", "--config", str(config)),
        env=arm.environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield state, began_s
        if process.poll() is not None:
            raise SystemExit(f"the daemon ended by itself with {process.returncode}")
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=_STOP_S)
    if process.returncode:
        raise SystemExit(f"the daemon ended with {process.returncode}:\n{log}")


def first_sample(state: Path, began_s: float) -> tuple[Sample, float]:
    """Wait for the first flagged frame in the outbox: (the sample, seconds since the daemon's start)."""
    path = state / "outbox.sqlite"
    while time.monotonic() - began_s < _FIRST_SAMPLE_S:
        time.sleep(_POLL_S)
        if not path.exists():
            continue
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            try:
                row = database.execute("SELECT payload FROM rows WHERE kind = 'sample' LIMIT 1").fetchone()
            except sqlite3.OperationalError:
                continue  # it is still being made
        if row is not None:
            message = decode(row[0])
            assert isinstance(message, Sample)
            return message, time.monotonic() - began_s
    raise SystemExit(f"no frame was flagged within {_FIRST_SAMPLE_S:.0f} s")


def check_daemon(arm: Emulated, job: Path, runtime: str, precision: str) -> str:
    """Start, first flagged sample, stop; returns what happened in words."""
    frames = np.load(job / "stream" / "frames.npy")
    with daemon(arm, job, runtime, precision) as (state, began_s):
        sample, seconds = first_sample(state, began_s)
    with Image.open(BytesIO(sample.data)) as picture:
        shown = np.asarray(picture)[..., None]
    if not (frames == shown).all(axis=(1, 2, 3)).any():
        raise SystemExit("the flagged picture is none of the frames")
    status = read_status(state)
    if status.running or not status.frames or not status.flagged:
        raise SystemExit(f"the daemon's last status is odd: {status}")
    return (
        f"{status.runtime}: first flagged sample {seconds:.0f} s after the start, "
        f"{status.frames} frames scored, stopped in order"
    )


def main(folder: Path) -> int:
    """Everything; returns the exit code."""
    console, job = Console(), folder / "job"
    shutil.rmtree(job, ignore_errors=True)
    job.mkdir(parents=True)
    console.print("Compiling here")
    bundle = compile_here(job)
    here, failed, count = run_here(job, bundle), 0, 0
    for board in BOARDS:
        arm = Emulated(folder, board)
        arm.boot()
        console.print(f"Running on an emulated {board.name}")
        rows = compare(here, run_there(arm, job))
        show(board, rows, console)
        failed, count = failed + sum(not row.good for row in rows), count + len(rows)
    for artifact in bundle.manifest.artifacts:
        words = check_daemon(arm, job, artifact.runtime, artifact.precision)
        console.print(words, highlight=False, soft_wrap=True)
    console.print(
        f"ARM: {count - failed} of {count} models give what they give here, "
        f"{len(bundle.manifest.artifacts)} daemons started, flagged a frame and stopped",
        style="red" if failed else "green",
        soft_wrap=True,
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
