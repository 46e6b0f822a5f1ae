"""One file from its public home into the cache: verified, atomic, retried.

Invariant: a file under its final name in the cache has passed its digest check; a half-written or wrong one
never gets that name. Not here: which files exist and what their digests are (the data set's module).
"""

import http.client
import os
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import click

from edgeadapt.errors import TransportError

ATTEMPTS = 3
TIMEOUT_S = 15.0
PIECE_BYTES = 1 << 18


def fetch(
    urls: tuple[str, ...],
    target: Path,
    check: Callable[[Path], None],
    *,
    fix: str,
    retry_after_s: float = 1.0,
) -> Path:
    """Return ``target``, downloading it from the first of ``urls`` that answers if it is not there.

    Args:
        urls: the same file at several homes, best first.
        target: final path; its folder is made.
        check: raises TransportError when a downloaded file is not the one expected.
        fix: what the user can do when no download succeeds, put at the end of the error.
        retry_after_s: pause before the second attempt; it doubles for each further one.

    Raises:
        TransportError: no attempt gave a file that passes ``check``.
    """
    if target.exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TransportError(f"cannot make the cache folder {target.parent}: {error}. {fix}") from error
    reasons: list[str] = []
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(retry_after_s * 2 ** (attempt - 1))
        for url in urls:
            try:
                _fetch_once(url, target, check)
            except (OSError, TransportError) as error:
                reasons.append(f"{url}: {error}")
            except (http.client.HTTPException, ValueError) as error:
                said = " ".join(str(error).split())
                reasons.append(f"{url}: no proper HTTP reply ({type(error).__name__}: {said})")
            else:
                return target
    raise TransportError(f"could not download {target.name} ({'; '.join(reasons[-len(urls) :])}). {fix}")


def _fetch_once(url: str, target: Path, check: Callable[[Path], None]) -> None:
    """Download beside ``target``, check, rename; nothing is left behind on failure."""
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        _copy(url, partial, target.name)
        check(partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _copy(url: str, path: Path, label: str) -> None:
    """Stream ``url`` to ``path`` with a progress bar on stderr (``urllib`` errors are ``OSError``)."""
    request = urllib.request.Request(url, headers={"User-Agent": "edgeadapt"})
    reply: http.client.HTTPResponse
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply, path.open("wb") as sink:
        size_bytes = int(reply.headers.get("Content-Length") or 0)
        with click.progressbar(length=size_bytes, label=f"download {label}", file=sys.stderr) as bar:
            for piece in iter(lambda: reply.read(PIECE_BYTES), b""):
                sink.write(piece)
                bar.update(len(piece))
    received_bytes = path.stat().st_size
    if size_bytes and received_bytes != size_bytes:
        raise TransportError(f"connection closed after {received_bytes} of {size_bytes} bytes")
