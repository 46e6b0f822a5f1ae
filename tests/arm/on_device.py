"""Runs on the device, that is under the emulator, with nothing but the device's packages.

`on_device.py JOB OUT`: JOB holds a bundle, frames, a patch in its envelope and the key that is trusted. Every
artifact is run with the base's values and with the patch's; what comes out goes to OUT, an `.npz` file.
"""

from __future__ import annotations

import platform
import sys
import time
from pathlib import Path

import numpy as np

from edgeadapt.bundle import read_folder
from edgeadapt.patch import TrustedKeys, open_envelope
from edgeadapt_device.config import EngineSection
from edgeadapt_device.io.engines import open_engine

began_s = time.monotonic()


def say(text: str) -> None:
    """A line with the time since the begin, at once."""
    sys.stdout.write(f"  [{time.monotonic() - began_s:5.1f} s] {text}\n")
    sys.stdout.flush()


def main(job: Path, out: Path) -> None:
    """Run every artifact both ways."""
    say(f"python {platform.python_version()} on {platform.machine()}, numpy {np.__version__}")
    if platform.machine() != "aarch64":
        raise SystemExit(f"this is to run on aarch64, not on {platform.machine()}")
    bundle, frames = read_folder(job / "bundle"), np.load(job / "frames.npy")
    trusted = TrustedKeys([(job / "key").read_bytes()])
    patch = open_envelope((job / "patch").read_bytes(), trusted)
    say(f"patch {patch.header.serial} is believed: {len(patch.values)} slots")
    results = {}
    for artifact in bundle.manifest.artifacts:
        engine = open_engine(bundle, EngineSection(runtime=artifact.runtime, precision=artifact.precision))
        for name, values in (("base", {}), ("patched", patch.values)):
            session = engine.build(values)
            scores = session.run(frames, probe=True)
            alone = session.run(frames[:1], probe=False)
            for output in ("logits", "embedding", "mean", "mean_square"):
                results[f"{artifact.title}/{name}/{output}"] = getattr(scores, output)
            results[f"{artifact.title}/{name}/alone"] = alone.logits
            say(f"{engine.report.text}: {name}, {len(frames)} frames")
    np.savez(out, **results)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
