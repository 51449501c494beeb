"""What the client's tests share: a client of the fake upstream, pauses that take no time, a line to send."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import orjson

from apps.inference.breaker import Sleep
from apps.inference.client import Client, LineRequest, Result
from apps.inference.curl import CurlTransport
from apps.inference.endpoint import Endpoint
from apps.inference.halt import Halt
from apps.inference.pool import Pool, Slot
from apps.inference.transport import Answer, Transport
from apps.inference.turns import ANYBODY
from apps.inference.upstream import Upstream
from apps.observability.outage import Clock
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
    pool = pool_of(upstream, transport, sleep=sleep)
    try:
        yield Client(pool, jitter=lambda: 1.0, pause=pause)
        assert in_flight(pool) == 0
    finally:
        await transport.close()


def pool_of(
    upstream: Upstream, transport: Transport, *, sleep: Sleep = asyncio.sleep, clock: Clock = time.monotonic
) -> Pool:
    """A pool of one upstream, whose breaker's jitter always is the full back-off."""

    def make(upstream: Upstream, on_room: Callable[[Endpoint], object]) -> Endpoint:
        return Endpoint(upstream, transport, on_room=on_room, jitter=lambda: 1.0, sleep=sleep, clock=clock)

    pool = Pool(make)
    pool.configure([upstream])
    return pool


class Silent:
    """A transport that answers nothing; for tests in which nothing is sent."""

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        raise NotImplementedError

    async def probe(self, url: str, headers: Mapping[str, str]) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing is open."""


class Lines:
    """Lines that wait to be sent, and what came of them, by id."""

    def __init__(self, *waiting: LineRequest) -> None:
        self.waiting = list(waiting)
        self.results: dict[str, Result] = {}

    def take(self) -> LineRequest | None:
        return self.waiting.pop(0) if self.waiting else None

    def finish(self, request: LineRequest, result: Result) -> None:
        assert request.id not in self.results, "a line has one result"
        self.results[request.id] = result


def in_flight(pool: Pool) -> int:
    return sum(endpoint.in_flight for endpoint in pool.endpoints)


def slot_of(pool: Pool) -> Slot:
    """The slot, as anybody holds it, of a pool with one upstream."""
    return Slot(pool.endpoints[0], ANYBODY.project)


def line(model: str = "echo", number: int = 1) -> LineRequest:
    body = orjson.dumps({"model": model, "messages": [{"role": "user", "content": f"hello {number}"}]})
    return LineRequest(f"batch_req_{number}", PATH, body)
