"""Servers that say exactly what a test tells them to, over real sockets: for what no well-behaved server does."""

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from apps.inference.loop import EventLoopThread


@dataclass
class RawServer:
    """`requests` holds what was read, head and body together; `connections` counts those that were accepted."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


@dataclass
class Connection:
    """One connection, as a script sees it."""

    server: RawServer
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> bytes:
        """Read a whole request and note it. IncompleteReadError ends the script, when the client is gone."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        body = await self.reader.readexactly(int(length[1]) if length else 0)
        self.server.requests.append(head + body)
        return head + body

    async def say(self, reply: bytes) -> None:
        self.writer.write(reply)
        await self.writer.drain()

    async def until_the_client_is_gone(self) -> None:
        await self.reader.read()

    def reset(self) -> None:
        no_linger = struct.pack("ii", 1, 0)  # closing then sends RST, as a crashed server's kernel does
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
        self.writer.transport.abort()


Script = Callable[[Connection], Awaitable[None]]
"""Plays one connection; when it returns the server hangs up."""


def saying(*replies: bytes) -> Script:
    """Answers the requests of each connection with these bytes in turn, then hangs up."""

    async def play(connection: Connection) -> None:
        for reply in replies:
            await connection.request()
            await connection.say(reply)

    return play


def holding(*replies: bytes) -> Script:
    """The same, but leaves it to the client to hang up."""

    async def play(connection: Connection) -> None:
        await saying(*replies)(connection)
        await connection.until_the_client_is_gone()

    return play


@contextmanager
def serving(script: Script, *, tls: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    server, loop = RawServer(), EventLoopThread("raw-server")

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        with contextlib.suppress(asyncio.CancelledError, asyncio.IncompleteReadError, OSError):
            await script(Connection(server, reader, writer))
        writer.close()

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(play, "127.0.0.1", 0, ssl=tls, backlog=1024)

    listening = loop.run(listen())
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        loop.call_soon(listening.close)
        loop.stop()
