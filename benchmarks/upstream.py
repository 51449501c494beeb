"""An inference server that costs little: `python -m benchmarks.upstream [MEAN_MS SIGMA [MOST]]` prints its URL.

It answers at once, or after log-normal times of that mean and sigma, the same at every start, in the order of the
requests' arrival. With MOST, what would be the next one in flight is turned away with 429.
`GET /stats` tells what happened so far and begins anew; `GET /most/N` changes MOST.
"""

import argparse
import asyncio
import math
import random
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson
import uvloop

ANSWER_BYTES = 1024
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
_NO_LENGTH = b"HTTP/1.1 411 Length Required\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def _completion() -> bytes:
    """A chat.completion of ANSWER_BYTES bytes, the same for every request."""
    message: dict[str, Any] = {"role": "assistant", "content": "@@", "refusal": None, "annotations": []}
    document = {
        "id": "chatcmpl-9f2c64a1d0b84f0e8a6b7c5d4e3f2a10",
        "object": "chat.completion",
        "created": 1_795_000_000,
        "model": "benchmark",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 212,
            "completion_tokens": 96,
            "total_tokens": 308,
            "prompt_tokens_details": {"cached_tokens": 64},
        },
        "system_fingerprint": "fp_benchmark",
    }
    frame = orjson.dumps(document)
    text = b"La livraison a pris une semaine, mais la lampe est tr\xc3\xa8s belle. " * 16
    filled = text[: ANSWER_BYTES - len(frame) + len(b"@@")].decode(errors="ignore").encode()
    return frame.replace(b"@@", filled)


def _response(body: bytes) -> bytes:
    head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_benchmark\r\ncontent-length: "
    return head.encode() + str(len(body)).encode() + b"\r\n\r\n" + body


_NOTHING = _response(b"{}")
_TOO_MANY = _NOTHING.replace(b"200 OK", b"429 Too Many Requests")
SEED = 20261124


@dataclass
class Stats:
    """Times are `time.monotonic()` in seconds; `latencies` are what the answers took, in the order of arrival."""

    first_at: float = 0.0
    last_at: float = 0.0
    refused: int = 0
    in_flight: int = 0
    peak: int = 0
    latencies: list[float] = field(default_factory=list)


class Server:
    """What all connections share: how long the next answer takes, and what has happened."""

    def __init__(self, mean: float, sigma: float, most: float) -> None:
        self._dice = random.Random(SEED)
        self._mu, self._sigma = math.log(mean) - sigma**2 / 2 if mean else 0.0, sigma
        self._most = most
        self._in_flight = 0
        self._stats = Stats()
        self.is_instant = not mean
        self.answer = _response(_completion())

    def take_in(self, answered: Callable[[bytes], object]) -> None:
        """One request: `answered` is called with the answer, in its time."""
        if self._in_flight >= self._most:
            self._stats.refused += 1
            answered(_TOO_MANY)
            return
        latency = self._dice.lognormvariate(self._mu, self._sigma)
        self._in_flight += 1
        self._stats.first_at = self._stats.first_at or time.monotonic()
        self._stats.peak = max(self._stats.peak, self._in_flight)
        self._stats.latencies.append(latency)
        asyncio.get_running_loop().call_later(latency, self._end, answered)

    def tell(self, path: bytes) -> bytes:
        """What answers a GET: all but the two paths of the module's docstring get an empty object."""
        if path.startswith(b"/most/"):
            self._most = float(path.removeprefix(b"/most/"))
        if path != b"/stats":
            return _NOTHING
        stats, self._stats = self._stats, Stats()
        stats.in_flight = self._in_flight
        return _response(orjson.dumps(asdict(stats)))

    def _end(self, answered: Callable[[bytes], object]) -> None:
        self._in_flight -= 1
        self._stats.last_at = time.monotonic()
        answered(self.answer)


class Answering(asyncio.Protocol):
    """One connection. Every request that is there to its last byte is answered; pipelined ones in order if at once."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._received = bytearray()
        self._transport: Any = None  # uvloop's transports are not of asyncio's types

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.startswith(b"GET "):
            self._transport.write(self._server.tell(bytes(self._received.split(b" ", 2)[1])))
            self._received.clear()
            return
        try:
            whole = self._take_whole_requests()
        except ValueError:
            self._transport.write(_NO_LENGTH)
            self._transport.close()
            return
        if self._server.is_instant and whole:
            self._transport.write(self._server.answer * whole)
        elif whole:
            for _ in range(whole):
                self._server.take_in(self._answer)

    def _answer(self, response: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(response)

    def _take_whole_requests(self) -> int:
        """Drop the requests that are complete and count them. ValueError for one without a Content-Length."""
        whole, start = 0, 0
        while (head_end := self._received.find(b"\r\n\r\n", start)) >= 0:
            length = _LENGTH.search(self._received, start, head_end + 2)
            if length is None:
                raise ValueError("a request without Content-Length")
            end = head_end + 4 + int(length[1])
            if end > len(self._received):
                break
            whole, start = whole + 1, end
        del self._received[:start]
        return whole


async def _serve(server: Server) -> None:
    listening = await asyncio.get_running_loop().create_server(lambda: Answering(server), "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1", flush=True)
    await listening.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mean_ms", type=float, nargs="?", default=0.0)
    parser.add_argument("sigma", type=float, nargs="?", default=0.0)
    parser.add_argument("most", type=float, nargs="?", default=math.inf)
    options = parser.parse_args()
    uvloop.run(_serve(Server(options.mean_ms / 1000, options.sigma, options.most)))


if __name__ == "__main__":
    main()
