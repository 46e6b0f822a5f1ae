"""Retries and atomic placement, against real files behind file:// addresses."""

import socket
import threading
from pathlib import Path

import pytest

from edgeadapt.errors import TransportError
from edgeadapt_models.data.download import ATTEMPTS, fetch


def accept(path: Path) -> None:
    """A check that likes everything."""


def test_a_file_that_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"here")
    assert fetch(("file:///nowhere",), target, accept, fix="").read_bytes() == b"here"


def test_the_second_home_is_tried(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"payload")
    urls = ((tmp_path / "gone").as_uri(), source.as_uri())
    target = fetch(urls, tmp_path / "cache" / "file", accept, fix="", retry_after_s=0)
    assert target.read_bytes() == b"payload"
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_a_later_attempt_may_succeed(tmp_path: Path) -> None:
    source, checks = tmp_path / "source", 0
    source.write_bytes(b"payload")

    def fail_twice(path: Path) -> None:
        nonlocal checks
        checks += 1
        if checks < ATTEMPTS:
            raise TransportError("damaged on the way")

    assert fetch((source.as_uri(),), tmp_path / "file", fail_twice, fix="", retry_after_s=0).exists()
    assert checks == ATTEMPTS


@pytest.mark.parametrize(
    "reply",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nxx",
    ],
)
def test_a_server_that_speaks_no_http_is_one_more_failed_attempt(tmp_path: Path, reply: bytes) -> None:
    def answer(server: socket.socket) -> None:
        for _ in range(ATTEMPTS):
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer, args=(server,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        with pytest.raises(TransportError, match=r"no proper HTTP reply .*\. Do this") as caught:
            fetch((url,), tmp_path / "x", accept, fix="Do this", retry_after_s=0)
        assert "\n" not in str(caught.value)
        thread.join(10)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file where a folder should be")
    with pytest.raises(TransportError, match="cannot make the cache folder"):
        fetch(("file:///nowhere",), tmp_path / "cache" / "set" / "file", accept, fix="")
