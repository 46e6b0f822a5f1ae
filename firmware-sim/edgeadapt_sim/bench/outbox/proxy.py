"""A TCP proxy on loopback whose link can be cut, throttled or turned into a black hole.

An event loop in a thread of its own; `set_mode` may be called from any thread. A black hole accepts
connections and takes bytes, and passes nothing on, as a network that drops packets does; what was swallowed
comes out when it ends, or never if the connection was given up. Not here: when to do what (`chaos`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from types import TracebackType
from typing import Literal

Mode = Literal["open", "cut", "throttle", "hole"]
_CHUNK_BYTES = 4096
_POLL_S = 0.05


class Proxy:
    """Listens on a free port of 127.0.0.1 and connects each client to `port`."""

    def __init__(self, port: int, *, throttled_bytes_per_s: int = 20_000) -> None:
        self._target, self._rate = port, throttled_bytes_per_s
        self._mode: Mode = "open"
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._listening = threading.Event()
        self.port = 0

    def __enter__(self) -> Proxy:
        self._thread.start()
        if not self._listening.wait(10.0):
            raise RuntimeError("the proxy does not come up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join(10.0)

    def set_mode(self, mode: Mode) -> None:
        """From now on; "cut" also ends the connections there are."""
        self._mode = mode
        if mode == "cut":
            self._loop.call_soon_threadsafe(self._drop_all)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = int(server.sockets[0].getsockname()[1])
        self._listening.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def _end(self) -> None:
        self._drop_all()
        self._loop.stop()

    def _drop_all(self) -> None:
        for writer in list(self._writers):
            transport = writer.transport
            transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self._mode == "cut":
                return
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(there_writer)
            try:
                await _first_end(self._pump(reader, there_writer), self._pump(there_reader, writer))
            finally:
                self._writers.discard(there_writer)
                there_writer.transport.abort()
        except OSError:
            return  # the broker is away; so is the client's connection
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            while self._mode == "hole":
                await asyncio.sleep(_POLL_S)
            if self._mode == "throttle":
                await asyncio.sleep(len(data) / self._rate)
            writer.write(data)
            await writer.drain()


async def _first_end(*pumps: Awaitable[None]) -> None:
    """Run both directions until one ends; the other is ended with it."""
    tasks = [asyncio.ensure_future(pump) for pump in pumps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
