"""AiohttpTransport over real sockets. Another transport may replace it when it passes these."""

import asyncio
import contextlib
import gzip
import socket
from collections.abc import Awaitable, Callable

import orjson
import pytest

from apps.inference.errors import BrokenAnswer, NoAnswer, TransportError, UpstreamAway
from apps.inference.transport import AiohttpTransport, Answer
from tests.fakes.upstream import FakeUpstream


def ask(url: str, body: bytes = b"{}", *, read_timeout: float = 10.0, headers: dict[str, str] | None = None) -> Answer:
    async def story() -> Answer:
        transport = AiohttpTransport(connect_timeout=5.0, read_timeout=read_timeout)
        try:
            return await transport.send(url, headers or {}, body)
        finally:
            await transport.close()

    return asyncio.run(story())


def ask_for(fake: FakeUpstream, model: str, *, read_timeout: float = 10.0) -> Answer:
    body = orjson.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]})
    return ask(f"{fake.base_url}/chat/completions", body, read_timeout=read_timeout)


def ask_raw(reply: bytes) -> Answer:
    """Ask a server that answers with exactly these bytes and hangs up."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(reply)
        await writer.drain()
        writer.close()

    return _against(answer)


def _against(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> Answer:
    async def story() -> Answer:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        transport = AiohttpTransport(connect_timeout=5.0, read_timeout=10.0)
        try:
            port = server.sockets[0].getsockname()[1]
            return await transport.send(f"http://127.0.0.1:{port}/v1", {}, b"{}")
        finally:
            await transport.close()
            server.close()
            await server.wait_closed()

    return asyncio.run(story())


def test_an_answer_comes_back_whole(fake: FakeUpstream) -> None:
    answer = ask_for(fake, "echo")
    assert answer.status == 200
    assert answer.headers["X-REQUEST-ID"] == answer.headers["x-request-id"] == "req_up_1"
    assert orjson.loads(answer.body)["choices"][0]["message"]["content"] == "hi"


@pytest.mark.parametrize("size", [0, 1, 1 << 16, 3 << 20])
def test_the_body_arrives_byte_for_byte(fake: FakeUpstream, size: int) -> None:
    body = b'{"model" :"echo", "model":  "echo", "n": 1.0e0, "pad": "%s"}' % (b"x" * size)
    assert ask(f"{fake.base_url}/chat/completions", body).status == 200
    assert fake.requests[0].body == body
    assert fake.requests[0].headers["content-length"] == str(len(body))


def test_a_large_answer_comes_back_whole(fake: FakeUpstream) -> None:
    assert len(ask_for(fake, "big-3000000").body) > 3_000_000


def test_headers_are_sent(fake: FakeUpstream) -> None:
    ask(f"{fake.base_url}/chat/completions", headers={"x-request-id": "batch_req_1"})
    assert fake.requests[0].headers["x-request-id"] == "batch_req_1"


def test_connections_are_kept(fake: FakeUpstream) -> None:
    async def story() -> None:
        transport = AiohttpTransport()
        for _ in range(5):
            await transport.send(f"{fake.base_url}/chat/completions", {}, b"{}")
        await transport.close()

    asyncio.run(story())
    assert len({seen.connection for seen in fake.requests}) == 1


def test_it_opens_anew_after_a_close(fake: FakeUpstream) -> None:
    async def story() -> int:
        transport = AiohttpTransport()
        await transport.close()
        await transport.send(f"{fake.base_url}/chat/completions", {}, b"{}")
        await transport.close()
        answer = await transport.send(f"{fake.base_url}/chat/completions", {}, b"{}")
        await transport.close()
        return answer.status

    assert asyncio.run(story()) == 200


def test_a_gzipped_answer_is_unpacked() -> None:
    packed = gzip.compress(b'{"a": 1}')
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    assert ask_raw(head + packed).body == b'{"a": 1}'


def test_redirects_are_not_followed_and_cookies_not_kept(fake: FakeUpstream) -> None:
    reply = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: %s\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    assert ask_raw(reply % fake.base_url.encode()).status == 307
    assert fake.requests == []


def fails_with(kind: type[TransportError], ask_it: Callable[[], Answer]) -> str:
    with pytest.raises(kind) as caught:
        ask_it()
    assert type(caught.value) is kind
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert len(message) < 300
    return message


def test_a_refused_connection_is_an_upstream_away() -> None:
    with socket.socket() as bound:  # bound but not listening, so nobody else can take the port
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/v1"
        assert "cannot connect" in fails_with(UpstreamAway, lambda: ask(url))


@pytest.mark.parametrize(
    "url",
    [
        "http://no-such-host.invalid/v1",
        "http://127.0.0.1:0/v1",
        "http://127.0.0.1:99999/v1",
        "http://[::1/v1",
        "ftp://127.0.0.1/v1",
        "gpu:8000/v1",
        "/v1",
        "",
    ],
)
def test_an_unusable_url_is_an_upstream_away(url: str) -> None:
    fails_with(UpstreamAway, lambda: ask(url))


def test_a_server_that_speaks_no_tls_is_an_upstream_away(fake: FakeUpstream) -> None:
    fails_with(UpstreamAway, lambda: ask(f"https://127.0.0.1:{fake.port}/v1"))


def test_a_connection_that_is_never_accepted_is_an_upstream_away() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        assert "within 0.1 s" in fails_with(UpstreamAway, lambda: ask(url, read_timeout=0.2))
        for filler in fillers:
            filler.close()


def test_silence_is_no_answer(fake: FakeUpstream) -> None:
    assert fails_with(NoAnswer, lambda: ask_for(fake, "hang", read_timeout=0.1)) == "no answer within 0.1 s"


@pytest.mark.parametrize("model", ["truncated", "reset"])
def test_a_connection_that_breaks_is_a_broken_answer(fake: FakeUpstream, model: str) -> None:
    fails_with(BrokenAnswer, lambda: ask_for(fake, model))


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Len",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: nine\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nzip!",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
)
def test_what_is_not_http_is_a_broken_answer(reply: bytes) -> None:
    fails_with(BrokenAnswer, lambda: ask_raw(reply))


def test_a_header_that_cannot_be_sent_is_a_broken_answer(fake: FakeUpstream) -> None:
    headers = {"authorization": "Bearer a\r\nx: y"}
    fails_with(BrokenAnswer, lambda: ask(f"{fake.base_url}/chat/completions", headers=headers))
    assert fake.requests == []


# Probes


def probe(url: str, *, connect_timeout: float = 5.0, headers: dict[str, str] | None = None) -> None:
    async def story() -> None:
        transport = AiohttpTransport(connect_timeout, read_timeout=10.0)
        try:
            await transport.probe(url, headers or {})
        finally:
            await transport.close()

    asyncio.run(story())


def probe_raw(reply: bytes, *, connect_timeout: float = 5.0, headers: dict[str, str] | None = None) -> bytes:
    """Probe a server that answers with exactly these bytes and does not hang up. Gives the request it got."""

    async def story() -> bytes:
        seen, ended = list[bytes](), asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(reply)
            with contextlib.suppress(ConnectionError):
                await reader.read()  # until the prober hangs up
                writer.close()
                await writer.wait_closed()
            ended.set()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        transport = AiohttpTransport(connect_timeout, read_timeout=10.0)
        try:
            port = server.sockets[0].getsockname()[1]
            await transport.probe(f"http://127.0.0.1:{port}/v1/models", headers or {})
        finally:
            await transport.close()
            await ended.wait()
            server.close()
            await server.wait_closed()
        return seen[0]

    return asyncio.run(story())


def test_a_probe_finds_an_upstream_and_is_not_taken_for_a_line(fake: FakeUpstream) -> None:
    probe(f"{fake.base_url}/models")
    assert (fake.probes, fake.request_count, fake.requests) == (1, 0, [])


def test_any_path_and_a_closed_gate_will_do_for_a_probe(fake: FakeUpstream) -> None:
    fake.gate.close()
    probe(f"{fake.base_url}/nothing-here")
    assert (fake.probes, fake.request_count) == (0, 0)


@pytest.mark.parametrize("status", [200, 204, 302, 401, 404, 429, 500, 503])
def test_any_status_is_an_answer_to_a_probe_and_the_body_is_not_waited_for(status: int) -> None:
    reply = b"HTTP/1.1 %d Any\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 1000\r\n\r\n" % status
    seen = probe_raw(reply, headers={"authorization": "Bearer sk-1"})
    assert seen.startswith(b"GET /v1/models HTTP/1.1\r\n")
    assert b"authorization: Bearer sk-1\r\n" in seen


def test_a_probe_refused_is_an_upstream_away(fake: FakeUpstream) -> None:
    fake.stop()
    with pytest.raises(UpstreamAway, match="cannot connect"):
        probe(f"{fake.base_url}/models")


def test_a_probe_does_not_wait_as_long_as_a_line() -> None:
    with pytest.raises(NoAnswer, match=r"no answer within 0\.1 s"):
        probe_raw(b"", connect_timeout=0.1)


def test_a_probe_answered_with_something_else_is_a_broken_answer() -> None:
    with pytest.raises(BrokenAnswer, match="not HTTP"):
        probe_raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


def test_cancelling_is_passed_on(fake: FakeUpstream) -> None:
    async def story() -> None:
        transport = AiohttpTransport()
        task = asyncio.create_task(transport.send(f"{fake.base_url}/chat/completions", {}, b'{"model": "hang"}'))
        await asyncio.to_thread(fake.wait_for_requests, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await transport.close()

    asyncio.run(story())
