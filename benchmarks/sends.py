"""Requests through one transport, in a fresh process: `python -m benchmarks.sends send|client aiohttp|curl URL N`."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator

import uvloop

from apps.inference.aiohttp_transport import AiohttpTransport
from apps.inference.client import Client
from apps.inference.curl import CurlTransport
from apps.inference.endpoint import Endpoint
from apps.inference.halt import Halt
from apps.inference.pool import Pool
from apps.inference.results import Completed, LineRequest, Result
from apps.inference.transport import Transport
from apps.inference.upstream import Upstream

IN_FLIGHT = 64
BODY_BYTES = 1024
WARM_UP = 2_000
PATH = "/v1/chat/completions"
TRANSPORTS: dict[str, Callable[[], Transport]] = {"aiohttp": AiohttpTransport, "curl": CurlTransport}

_FRAME = b'{"model":"benchmark","messages":[{"role":"user","content":"%b"}]}'
BODY = _FRAME % (b"x" * (BODY_BYTES - len(_FRAME) + len(b"%b")))


async def send(transport: Transport, upstream: Upstream, count: int) -> None:
    """The seam alone, from as many senders as may be in flight."""
    constant = {"content-type": "application/json", "accept": "application/json", "authorization": "Bearer sk-bench"}

    async def sender(numbers: Iterator[int]) -> None:
        for number in numbers:
            headers = {**constant, "x-request-id": f"batch_req_{number}"}
            answer = await transport.send(upstream.url(PATH), headers, BODY)
            if answer.status != 200 or "x-request-id" not in answer.headers:
                raise RuntimeError(f"upstream answered {answer.status}")

    numbers = iter(range(count))
    await asyncio.gather(*(sender(numbers) for _ in range(upstream.max_in_flight)))


class Counted:
    """So many lines, of which each must be answered."""

    def __init__(self, count: int) -> None:
        self._numbers = iter(range(count))
        self.open = count

    def take(self) -> LineRequest | None:
        number = next(self._numbers, None)
        return None if number is None else LineRequest(f"batch_req_{number}", PATH, BODY)

    def finish(self, request: LineRequest, result: Result) -> None:
        if not isinstance(result, Completed):
            raise TypeError(f"{request.id}: {result}")
        self.open -= 1


async def client(transport: Transport, upstream: Upstream, count: int) -> None:
    """As a chunk's run sends its lines, each answer judged."""
    pool = Pool(lambda upstream, on_room: Endpoint(upstream, transport, on_room=on_room))
    pool.configure([upstream])
    asker, halt, lines = Client(pool), Halt(), Counted(count)
    tasks = []
    for _ in range(min(count, upstream.max_in_flight)):
        slot = await pool.acquire(halt)
        assert slot is not None
        tasks.append(asker.start(lines, halt, slot))
    await asyncio.gather(*(task for task in tasks if task))
    if lines.open:
        raise RuntimeError(f"{lines.open} requests were not answered")


async def _measure(way: str, kind: str, url: str, count: int) -> float:
    upstream = Upstream("benchmark", url, api_key="sk-bench", max_in_flight=IN_FLIGHT)
    run, transport = {"send": send, "client": client}[way], TRANSPORTS[kind]()
    try:
        await run(transport, upstream, WARM_UP)
        start = time.process_time()
        await run(transport, upstream, count)
        return time.process_time() - start
    finally:
        await transport.close()


def main(way: str, kind: str, url: str, count: str) -> None:
    """Print the CPU seconds of `count` requests as JSON, without those of the start and the warm-up."""
    print(json.dumps({"cpu": uvloop.run(_measure(way, kind, url, int(count)))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
