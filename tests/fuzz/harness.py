"""One target under atheris (libFuzzer, guided by coverage).

`python -m tests.fuzz.harness TARGET [libFuzzer options]`; the targets are those of `targets`: what comes over
the wire, patches and their parts, bundles, pictures, and the rows that device and cloud have stored.

The seeds are written to a corpus folder first, `out/fuzz/TARGET` unless FUZZ_CORPUS names another; what was
found to be interesting stays there for the next run, and what breaks a target is left beside it as `crash-*`.
`make fuzz SECONDS=600` runs all of them for ten minutes each, `make fuzz TARGETS="wire ingest"` those two.
Not part of `make test`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.mutate import restructured

_INSTRUMENTED = [
    "edgeadapt",
    "edgeadapt_cloud.core.ingest",
    "edgeadapt_cloud.io",
    "edgeadapt_device.io.outbox",
    "msgspec",
    "safetensors",
]


def main() -> None:
    """Fuzz until libFuzzer's options say to stop."""
    # The package carries no types and is installed for this run only.
    import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

    fuzzer: Any = atheris
    with fuzzer.instrument_imports(include=_INSTRUMENTED):
        from tests.fuzz import targets
    chosen = targets.target(sys.argv[1] if len(sys.argv) > 1 else "wire")
    corpus = Path(os.environ.get("FUZZ_CORPUS", f"out/fuzz/{chosen.name}"))
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(chosen.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    prefix = f"-artifact_prefix={corpus.parent}/crash-{chosen.name}-"
    # Where the work is done in C, a seed shows no coverage of its own, and would be dropped.
    options = [sys.argv[0], str(corpus), prefix, "-keep_seed=1", *sys.argv[2:]]

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        """Half of the inputs keep their structure, which the fuzzer's own edits rarely do."""
        rng = np.random.default_rng(seed)
        if rng.random() < 0.5:
            return bytes(fuzzer.Mutate(data, most))
        head = data[:1] if chosen.name == "ingest" else b""
        return (head + restructured(data[len(head) :], rng))[:most]

    fuzzer.Setup(options, chosen.run, custom_mutator=mutate)
    fuzzer.Fuzz()


if __name__ == "__main__":
    main()
