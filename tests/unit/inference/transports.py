"""The transports, each put through the same tests."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import pytest
import uvloop

from apps.inference.aiohttp_transport import AiohttpTransport
from apps.inference.curl import CurlTransport
from apps.inference.errors import TransportError
from apps.inference.transport import Answer, Transport
from apps.inference.watch import LoopWatch

T = TypeVar("T")

TRANSPORTS: dict[str, Callable[..., Transport]] = {
    "aiohttp": AiohttpTransport,
    "curl": CurlTransport,
    "curl-without-epoll": partial(CurlTransport, watch=LoopWatch),
}


class Trial:
    """A kind of transport under test. Options go to its constructor."""

    def __init__(self, make: Callable[..., Transport]) -> None:
        self._make = make

    def run(self, story: Callable[[Transport], Awaitable[T]], **options: Any) -> T:
        """Run `story` with a new transport on a new loop of the product's kind."""

        async def whole_story() -> T:
            transport = self._make(**{"connect_timeout": 5.0, "read_timeout": 10.0} | options)
            try:
                return await story(transport)
            finally:
                await transport.close()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(whole_story())

    def ask(self, url: str, body: bytes = b"{}", headers: dict[str, str] | None = None, **options: Any) -> Answer:
        return self.run(lambda transport: transport.send(url, headers or {}, body), **options)

    def probe(self, url: str, headers: dict[str, str] | None = None, **options: Any) -> None:
        self.run(lambda transport: transport.probe(url, headers or {}), **options)


def fails_with(kind: type[TransportError], ask_it: Callable[[], object]) -> str:
    """The message of the error that `ask_it` must raise; it is fit for an operator's eyes."""
    with pytest.raises(TransportError) as caught:
        ask_it()
    assert type(caught.value) is kind, repr(caught.value)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert len(message) < 300
    return message
