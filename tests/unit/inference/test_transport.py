"""What every transport sends, and what it makes of an answer."""

import asyncio
import gzip
import threading
import zlib
from pathlib import Path

import orjson
import pytest

from apps.inference.errors import BrokenAnswer
from apps.inference.transport import Answer, Transport
from tests.fakes.raw import Connection, holding, saying, serving
from tests.fakes.upstream import FakeUpstream
from tests.unit.inference.transports import Trial

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def chat(model: str, content: str = "hi") -> bytes:
    return orjson.dumps({"model": model, "messages": [{"role": "user", "content": content}]})


def content_of(answer: Answer) -> str:
    content = orjson.loads(answer.body)["choices"][0]["message"]["content"]
    assert isinstance(content, str)
    return content


def answer_to(trial: Trial, reply: bytes) -> Answer:
    """From a server that answers with exactly these bytes and hangs up."""
    with serving(saying(reply)) as server:
        return trial.ask(server.url)


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def test_an_answer_comes_back_whole(trial: Trial, fake: FakeUpstream) -> None:
    answer = trial.ask(f"{fake.base_url}/chat/completions", chat("echo"))
    assert answer.status == 200
    assert answer.headers["X-REQUEST-ID"] == answer.headers["x-request-id"] == "req_up_1"
    assert content_of(answer) == "hi"


@pytest.mark.parametrize("size", [0, 1, 1 << 16, 3 << 20, 20_000_000])
def test_the_body_arrives_byte_for_byte_and_unasked(trial: Trial, fake: FakeUpstream, size: int) -> None:
    body = b'{"model" :"echo", "model":  "echo", "n": 1.0e0, "pad": "%s"}' % (b"x" * size)
    assert trial.ask(f"{fake.base_url}/chat/completions", body).status == 200
    assert fake.requests[0].body == body
    assert fake.requests[0].headers["content-length"] == str(len(body))
    assert "expect" not in fake.requests[0].headers


def test_an_empty_body_is_sent(trial: Trial) -> None:
    with serving(saying(OK)) as server:
        assert trial.ask(server.url, b"").body == b"ok"
    assert b"content-length: 0\r\n" in server.requests[0].lower()


def test_an_answer_of_20_mb_comes_back_whole(trial: Trial, fake: FakeUpstream) -> None:
    assert len(trial.ask(f"{fake.base_url}/chat/completions", chat("big-20000000")).body) > 20_000_000


def test_headers_are_sent_as_given(trial: Trial, fake: FakeUpstream) -> None:
    given = {"x-request-id": "batch_req_1", "content-type": "application/json", "x-empty": "", "x-name": "Zoë"}
    trial.ask(f"{fake.base_url}/chat/completions", headers=given)
    seen = fake.requests[0].headers
    assert {name: seen[name] for name in given} == given


def test_headers_look_up_in_any_case_and_the_first_of_two_counts(trial: Trial) -> None:
    reply = (
        b"HTTP/1.1 429 Slow down\r\nrEtry-aFter:  7 \r\nA: 1\r\na: 2\r\nX-Name: Zo\xc3\xab\r\nContent-Length: 0\r\n\r\n"
    )
    headers = answer_to(trial, reply).headers
    assert headers["Retry-After"] == headers["RETRY-AFTER"] == "7"
    assert (headers["a"], headers["x-name"]) == ("1", "Zoë")
    assert headers.get("retry") is headers.get("after") is headers.get("x-request-id") is None
    assert "A" in headers
    assert {name.lower() for name in headers} == {"retry-after", "a", "x-name", "content-length"}


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_keeps_the_connection(trial: Trial, status: int) -> None:
    async def story(transport: Transport) -> list[Answer]:
        return [await transport.send(server.url, {}, b"{}") for _ in range(2)]

    with serving(holding(b"HTTP/1.1 %d Nothing\r\n\r\n" % status, OK)) as server:
        answers = trial.run(story)
    assert [(answer.status, answer.body) for answer in answers] == [(status, b""), (200, b"ok")]
    assert server.connections == 1


def test_an_answer_may_end_with_its_connection(trial: Trial) -> None:
    assert answer_to(trial, b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 100_000).body == b"x" * 100_000


def test_what_comes_before_the_answer_is_ignored(trial: Trial) -> None:
    early = b"HTTP/1.1 100 Continue\r\nx-request-id: early\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    answer = answer_to(trial, early + OK)
    assert (answer.status, answer.body, answer.headers.get("x-request-id")) == (200, b"ok", None)
    assert [name.lower() for name in answer.headers] == ["content-length"]


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        (b"gzip", gzip.compress(b"x" * 100_000)),
        (b"deflate", zlib.compress(b"x" * 100_000)),
        (b"deflate", zlib.compress(b"x" * 100_000, wbits=-15)),
    ],
)
def test_a_packed_answer_is_unpacked(trial: Trial, encoding: bytes, packed: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (encoding, len(packed))
    with serving(saying(head + packed)) as server:
        assert trial.ask(server.url).body == b"x" * 100_000
    assert b"accept-encoding: gzip, deflate\r\n" in server.requests[0].lower()


def test_a_chunked_answer_is_put_together_packed_or_not(trial: Trial) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
    assert answer_to(trial, head + b"\r\n" + chunked(b'{"a":', b" 1", b"}")).body == b'{"a": 1}'
    packed = gzip.compress(b'{"a": 1}')
    packed_head = head + b"Content-Encoding: gzip\r\n\r\n"
    assert answer_to(trial, packed_head + chunked(packed[:5], packed[5:])).body == b'{"a": 1}'


def test_a_slow_answer_in_small_pieces_comes_back_whole(trial: Trial) -> None:
    async def dribble(connection: Connection) -> None:
        await connection.request()
        for byte in OK:
            await connection.say(bytes([byte]))
            await asyncio.sleep(0.001)

    with serving(dribble) as server:
        assert trial.ask(server.url).body == b"ok"


def test_redirects_are_not_followed_and_cookies_not_kept(trial: Trial, fake: FakeUpstream) -> None:
    location = fake.base_url.encode()
    reply = b"HTTP/1.1 307 Go\r\nLocation: %s\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n" % location

    async def story(transport: Transport) -> list[int]:
        return [(await transport.send(server.url, {}, b"{}")).status for _ in range(2)]

    with serving(saying(reply, reply)) as server:
        assert trial.run(story) == [307, 307]
    assert fake.requests == []
    assert b"cookie" not in server.requests[1].lower()


def test_passwords_in_the_home_directory_are_not_sent(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with serving(saying(OK)) as server:
        trial.ask(server.url)
    assert b"authorization" not in server.requests[0].lower()


# Connections


def test_connections_are_kept(trial: Trial, fake: FakeUpstream) -> None:
    async def story(transport: Transport) -> None:
        for _ in range(5):
            await transport.send(f"{fake.base_url}/chat/completions", {}, b"{}")

    trial.run(story)
    assert len({seen.connection for seen in fake.requests}) == 1


def test_a_kept_connection_that_the_server_has_closed_is_replaced(trial: Trial) -> None:
    closed = threading.Event()

    async def answer_once(connection: Connection) -> None:
        await saying(OK)(connection)
        connection.writer.close()
        await connection.writer.wait_closed()
        closed.set()

    async def story(transport: Transport) -> list[bytes]:
        bodies = []
        for _ in range(3):
            closed.clear()
            bodies.append((await transport.send(server.url, {}, b"{}")).body)
            await asyncio.to_thread(closed.wait, 10)
        return bodies

    with serving(answer_once) as server:
        assert trial.run(story) == [b"ok", b"ok", b"ok"]
    assert (server.connections, len(server.requests)) == (3, 3)


def test_a_request_that_the_upstream_worked_on_is_not_sent_again_from_in_here(trial: Trial) -> None:
    async def crash_at_the_second(connection: Connection) -> None:
        await saying(OK)(connection)
        await connection.request()
        await asyncio.sleep(0.5)  # at work

    async def story(transport: Transport) -> None:
        await transport.send(server.url, {}, b"{}")
        with pytest.raises(BrokenAnswer, match="connection lost"):
            await transport.send(server.url, {}, b"{}")

    with serving(crash_at_the_second) as server:
        trial.run(story)
    assert (server.connections, len(server.requests)) == (1, 2)


def test_it_opens_anew_after_a_close(trial: Trial, fake: FakeUpstream) -> None:
    async def story(transport: Transport) -> int:
        await transport.close()
        await transport.send(f"{fake.base_url}/chat/completions", {}, b"{}")
        await transport.close()
        return (await transport.send(f"{fake.base_url}/chat/completions", {}, b"{}")).status

    assert trial.run(story) == 200
    assert len({seen.connection for seen in fake.requests}) == 2


def test_500_at_once_each_get_their_own_answer(trial: Trial, fake: FakeUpstream) -> None:
    async def story(transport: Transport) -> None:
        url = f"{fake.base_url}/chat/completions"
        for _ in range(2):  # the second time over kept connections
            sends = [transport.send(url, {"x-request-id": str(n)}, chat("echo", str(n))) for n in range(500)]
            answers = await asyncio.gather(*sends)
            assert [content_of(answer) for answer in answers] == [str(n) for n in range(500)]

    trial.run(story, read_timeout=60.0, connect_timeout=30.0)
    assert len({seen.connection for seen in fake.requests}) == 500
