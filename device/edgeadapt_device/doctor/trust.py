"""Whose patches are accepted, and who else may read or write what the device relies on?"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.doctor.finding import Finding, ok, warning

_OTHERS_READ = stat.S_IRGRP | stat.S_IROTH
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def look(config: DeviceConfig) -> Iterator[Finding]:
    """Pinned keys, and the rights of files."""
    keys = config.trust.keys
    if keys:
        again = f", {len(keys) - len(set(keys))} of them twice" if len(set(keys)) < len(keys) else ""
        yield ok("trust", f"{len(keys)} pinned keys{again}: {', '.join(key[:8] for key in keys)}")
    elif config.mqtt.enabled:
        yield warning(
            "trust",
            "no key is pinned: every patch of the cloud will be refused",
            "put the line that `edgeadapt cloud keygen` prints into [trust] keys",
        )
    else:
        yield ok("trust", "no key is pinned, and no cloud is asked for patches")
    secrets = {"mqtt.password_file": config.mqtt.password_file}
    secrets["mqtt.tls_key" if config.mqtt.tls_key else "mqtt.tls_cert"] = (
        config.mqtt.tls_key or config.mqtt.tls_cert
    )
    for key, name in secrets.items():
        yield from _rights(key, Path(name), _OTHERS_READ, "read") if name else ()
    yield from _rights("device.state_dir", Path(config.device.state_dir), _OTHERS_WRITE, "write")
    yield from _rights("device.bundle", Path(config.device.bundle), _OTHERS_WRITE, "write")


def _rights(key: str, path: Path, forbidden: int, verb: str) -> Iterator[Finding]:
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # that it is not there is another check's finding
    if mode & forbidden:
        letters = "go-rwx" if verb == "read" else "go-w"
        yield warning("rights", f"{key}: others than its owner may {verb} {path}", f"chmod {letters} {path}")
