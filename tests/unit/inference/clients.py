"""What the client's tests share: a client of the fake upstream, pauses that take no time, a line to send."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import orjson

from apps.inference.breaker import Sleep
from apps.inference.client import Client, LineRequest
from apps.inference.curl import CurlTransport
from apps.inference.halt import Halt
from apps.inference.upstream import Upstream
from tests.fakes.upstream import FakeUpstream

PATH = "/v1/chat/completions"


class SkippedPauses:
    """Stands in for `Halt.wait`: notes each pause and skips it. `on_pause(count)` may change the world meanwhile."""

    def __init__(self, on_pause: Callable[[int], object] = lambda count: None) -> None:
        self.seconds: list[float] = []
        self._on_pause = on_pause

    async def __call__(self, halt: Halt, seconds: float) -> bool:
        self.seconds.append(seconds)
        self._on_pause(len(self.seconds))
        await asyncio.sleep(0)
        return halt.reason is not None


@asynccontextmanager
async def client_of(
    fake: FakeUpstream,
    pauses: SkippedPauses | None = None,
    *,
    read_timeout: float = 10.0,
    max_in_flight: int = 4,
    max_attempts: int = 4,
    api_key: str | None = None,
    sleep: Sleep = asyncio.sleep,
) -> AsyncIterator[Client]:
    """A client whose jitter always is the full back-off. Every slot must be back when the test is done."""
    upstream = Upstream("fake", fake.base_url, api_key=api_key, max_in_flight=max_in_flight, max_attempts=max_attempts)
    transport = CurlTransport(connect_timeout=5.0, read_timeout=read_timeout)
    pause = Halt.wait if pauses is None else pauses
    client = Client(upstream, transport, jitter=lambda: 1.0, pause=pause, sleep=sleep)
    try:
        yield client
        assert client.slots.in_flight == 0
    finally:
        await transport.close()


def line(model: str = "echo", number: int = 1) -> LineRequest:
    body = orjson.dumps({"model": model, "messages": [{"role": "user", "content": f"hello {number}"}]})
    return LineRequest(f"batch_req_{number}", PATH, body)
