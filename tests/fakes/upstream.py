"""A fake OpenAI-compatible inference server that answers as the request's `model` asks, for tests and benchmarks.

| model | answer |
|---|---|
| `echo`, none, or any other name | 200, the last user message as content, `USAGE`, `x-request-id: req_up_<n>` |
| `status-NNN` | that status with an OpenAI error body, param `model`; 429 and 503 say `Retry-After: 1`, 3xx lead back |
| `quota` / `context` | 429 `insufficient_quota` / 400 `context_length_exceeded` |
| `garbage` / `truncated` / `reset` | 200 that is not JSON / closes in mid-body / closes without an answer |
| `hang` | nothing until `release()`, then echo |
| `flaky-N` / `busy-N` | the first N times per `x-request-id` 500 / 429 with `Retry-After: 0`, then echo |
| `slow-MS` | echo after MS milliseconds |
| `pretty` / `surrogate` / `big-BYTES` | echo over many lines / with a lone `\\ud83d` / with a content of that size |

A GET is not a line, and no counter of requests sees it: `/v1/models` lists `models`, at once, or answers as the model
that `probes_as` names; `probes` counts these.

A `mood`, such as `Mood(503)`, answers every line instead of its model, until it is None again.

Run it alone with `python -m tests.fakes.upstream --port 9000 --latency-ms 20`.
"""

import argparse
import asyncio
import contextlib
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import orjson
from aiohttp import web

from apps.inference.loop import EventLoopThread

USAGE = {
    "prompt_tokens": 5,
    "completion_tokens": 7,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 3},
}


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request as it arrived. `headers` look up case-insensitively; `time` is `time.monotonic()`."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    time: float
    connection: object  # the client's address and port

    @property
    def request_id(self) -> str:
        return self.headers.get("x-request-id", "")


class Gate:
    """Holds every answer back while it is closed. Open at first; thread-safe."""

    def __init__(self, loop: EventLoopThread) -> None:
        self._loop = loop
        self._is_open = True
        self._waiting: list[asyncio.Future[None]] = []  # no asyncio.Event: that would not survive a restart

    def open(self) -> None:
        self._is_open = True
        self._loop.call_soon(self._wake)

    def close(self) -> None:
        self._is_open = False

    async def passed(self) -> None:
        while not self._is_open:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            if not turn.done():
                turn.set_result(None)


@dataclass(frozen=True, slots=True)
class Mood:
    """What the whole server answers for a while, whoever asks for what; `retry_after` in seconds, if it names any."""

    status: int
    retry_after: int | None = None


@dataclass
class Exchange:
    """One request being answered: the aiohttp side and what its body asks for."""

    request: web.BaseRequest
    document: dict[str, Any]
    argument: int  # NNN of `status-NNN`, 0 without
    number: int  # counts up from 1
    times_seen: int  # how often this x-request-id came, this time included

    @property
    def content(self) -> str:
        """The last user message; empty if there is none."""
        messages = self.document.get("messages")
        texts = [m.get("content") for m in messages if m.get("role") == "user"] if isinstance(messages, list) else []
        return texts[-1] if texts and isinstance(texts[-1], str) else ""


class FakeUpstream:
    """The server, on its own event loop and thread. Use it as a context manager, or `start()` and `stop()`.

    Stopping breaks every connection; starting again takes the same port and keeps what was recorded.
    `latency` (seconds) delays every answer; `record=False` keeps no requests, for long benchmarks.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, latency: float = 0.0, record: bool = True) -> None:
        self.host, self.port = host, port
        self.latency = latency
        self.requests: list[SeenRequest] = []
        self.count_by_request_id: Counter[str] = Counter()
        self.request_count = 0
        self.probes = 0
        self.mood: Mood | None = None
        self.turned_away: Counter[str] = Counter()  # by x-request-id; these are among the requests counted above
        self.probes_as = ""
        self.probe_headers: Mapping[str, str] = {}  # of the last probe
        self.models: list[str] = []
        self.in_flight = 0
        self.max_in_flight = 0
        self._broken_off = 0
        self._record = record
        self._arrived = threading.Condition()
        self._loop = EventLoopThread("fake-upstream")
        self.gate = Gate(self._loop)
        self._hung = Gate(self._loop)
        self._hung.close()
        self._runner: web.ServerRunner | None = None

    @property
    def base_url(self) -> str:
        return f"http://{self.host}:{self.port}/v1"

    def start(self) -> Self:
        self._loop.run(self._listen())
        return self

    def stop(self) -> int:
        """Refuse connections from now on and break those that are open: how many requests were broken off with them.

        Nothing happens if it is stopped already.
        """
        before = self._broken_off
        self._loop.run(self._close())
        self._loop.stop()
        return self._broken_off - before

    def hold(self) -> None:
        """Let requests to `hang` wait again, as they do at first."""
        self._hung.close()

    def release(self) -> None:
        """Let every request to `hang` be answered, present and future."""
        self._hung.open()

    def wait_for_requests(self, n: int, timeout: float = 10.0) -> None:
        """Block until `n` requests have arrived since the first start; TimeoutError after `timeout` seconds."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: self.request_count >= n, timeout):
                raise TimeoutError(f"{self.request_count} of {n} requests arrived within {timeout:g} s")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def _listen(self) -> None:
        server = web.Server(self._answer, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.001)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port, backlog=1024, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def _close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "GET":
            return await self._answer_probe(request)
        body = await request.content.read()  # unlike request.read(), of any size
        self._note(request, body)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            if self.latency:
                await asyncio.sleep(self.latency)
            await self.gate.passed()
            if self.mood is not None:
                return self._turn_away(request, self.mood)
            return await self._play(request, body)
        except asyncio.CancelledError:
            self._broken_off += 1
            raise
        finally:
            self.in_flight -= 1

    async def _answer_probe(self, request: web.BaseRequest) -> web.StreamResponse:
        """Neither latency nor a closed gate holds it back: those are for lines."""
        if request.path != "/v1/models":
            return error_answer(404, f"There is nothing at {request.path}")
        self.probes += 1
        self.probe_headers = request.headers
        if self.probes_as:
            return await self._play(request, orjson.dumps({"model": self.probes_as}))
        return web.json_response({"object": "list", "data": [{"id": model} for model in self.models]})

    def _turn_away(self, request: web.BaseRequest, mood: Mood) -> web.Response:
        self.turned_away[request.headers.get("x-request-id", "")] += 1
        return error_answer(mood.status, f"In the mood for {mood.status}", retry_after=mood.retry_after)

    def _note(self, request: web.BaseRequest, body: bytes) -> None:
        with self._arrived:
            self.request_count += 1
            self.count_by_request_id[request.headers.get("x-request-id", "")] += 1
            if self._record:
                connection = request.get_extra_info("peername")
                self.requests.append(SeenRequest(request.path, request.headers, body, time.monotonic(), connection))
            self._arrived.notify_all()

    async def _play(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            return error_answer(400, "The request body is not valid JSON")
        script = re.fullmatch(r"([a-z]+)(?:-(\d+))?", str(document.get("model")))
        play, argument = (PLAYS.get(script[1], echo), int(script[2] or 0)) if script else (echo, 0)
        times_seen = self.count_by_request_id[request.headers.get("x-request-id", "")]
        return await play(self, Exchange(request, document, argument, self.request_count, times_seen))


def chat_completion(exchange: Exchange, content: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{exchange.number}",
        "object": "chat.completion",
        "created": 1736290000,
        "model": exchange.document.get("model", "echo"),
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": USAGE,
    }


def json_answer(exchange: Exchange, body: bytes) -> web.Response:
    headers = {"content-type": "application/json", "x-request-id": f"req_up_{exchange.number}"}
    return web.Response(body=body, headers=headers)


def error_answer(status: int, message: str, code: str | None = None, retry_after: int | None = None) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": "model", "code": code}
    headers = {"content-type": "application/json"} | ({} if retry_after is None else {"retry-after": str(retry_after)})
    return web.Response(status=status, body=orjson.dumps({"error": error}), headers=headers)


async def echo(_: FakeUpstream, exchange: Exchange) -> web.StreamResponse:
    return json_answer(exchange, orjson.dumps(chat_completion(exchange, exchange.content)))


async def status(_: FakeUpstream, exchange: Exchange) -> web.StreamResponse:
    wait = 1 if exchange.argument in (429, 503) else None
    answer = error_answer(exchange.argument, f"Scripted {exchange.argument}", retry_after=wait)
    if 300 <= exchange.argument < 400:
        answer.headers["location"] = "/v1/models"
    return answer


async def quota(_: FakeUpstream, _exchange: Exchange) -> web.StreamResponse:
    return error_answer(429, "You exceeded your current quota", code="insufficient_quota")


async def context(_: FakeUpstream, _exchange: Exchange) -> web.StreamResponse:
    return error_answer(400, "This model's maximum context length is 8 tokens", code="context_length_exceeded")


async def garbage(_: FakeUpstream, exchange: Exchange) -> web.StreamResponse:
    return json_answer(exchange, b'{"id": "chatcmpl-1", "choices": [')


async def truncated(_: FakeUpstream, exchange: Exchange) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "application/json", "content-length": "1000"})
    await response.prepare(exchange.request)
    await response.write(b'{"id": "chatcmpl-1", "choices": [')
    if exchange.request.transport is not None:
        exchange.request.transport.close()
    return response


async def reset(_: FakeUpstream, exchange: Exchange) -> web.StreamResponse:
    if (transport := exchange.request.transport) is not None:
        no_linger = struct.pack("ii", 1, 0)  # closing then sends RST, as a crashed server's kernel does
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
        transport.abort()
    return web.Response()


async def hang(fake: FakeUpstream, exchange: Exchange) -> web.StreamResponse:
    await fake._hung.passed()
    return await echo(fake, exchange)


async def flaky(fake: FakeUpstream, exchange: Exchange) -> web.StreamResponse:
    if exchange.times_seen <= exchange.argument:
        return error_answer(500, "Scripted 500")
    return await echo(fake, exchange)


async def busy(fake: FakeUpstream, exchange: Exchange) -> web.StreamResponse:
    if exchange.times_seen <= exchange.argument:
        return error_answer(429, "Scripted 429", retry_after=0)
    return await echo(fake, exchange)


async def slow(fake: FakeUpstream, exchange: Exchange) -> web.StreamResponse:
    await asyncio.sleep(exchange.argument / 1000)
    return await echo(fake, exchange)


async def pretty(_: FakeUpstream, exchange: Exchange) -> web.StreamResponse:
    document = chat_completion(exchange, exchange.content)
    return json_answer(exchange, orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\r\n")


async def surrogate(_: FakeUpstream, exchange: Exchange) -> web.StreamResponse:
    body = orjson.dumps(chat_completion(exchange, "@@"))
    return json_answer(exchange, body.replace(b"@@", b"cut here: \\ud83d"))


async def big(_: FakeUpstream, exchange: Exchange) -> web.StreamResponse:
    return json_answer(exchange, orjson.dumps(chat_completion(exchange, "x" * exchange.argument)))


Play = Callable[[FakeUpstream, Exchange], Awaitable[web.StreamResponse]]
_PLAYS = (echo, status, quota, context, garbage, truncated, reset, hang, flaky, busy, slow, pretty, surrogate, big)
PLAYS: dict[str, Play] = {play.__name__: play for play in _PLAYS}


def main() -> None:
    parser = argparse.ArgumentParser(description="A fake inference server for benchmarks.")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    options = parser.parse_args()
    with FakeUpstream(port=options.port, latency=options.latency_ms / 1000, record=False) as fake:
        print(f"fake upstream at {fake.base_url}, Ctrl-C ends it", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
