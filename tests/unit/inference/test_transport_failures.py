"""What every transport calls the ways in which no answer comes, and that it goes on after them."""

import asyncio
import random
import socket
import time
from collections.abc import Iterator

import orjson
import pytest

from apps.inference.errors import BrokenAnswer, NoAnswer, UpstreamAway
from apps.inference.transport import Transport
from tests.fakes.raw import Connection, holding, saying, serving
from tests.fakes.upstream import FakeUpstream
from tests.unit.inference.test_transport import OK, chat, content_of
from tests.unit.inference.transports import Trial, fails_with


@pytest.fixture
def refusing() -> Iterator[str]:
    """The URL of a port that is bound but not listened on, so nobody else can take it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1"


@pytest.fixture
def never_accepting() -> Iterator[str]:
    """The URL of a port whose backlog is full: the kernel drops what else wants to connect."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        for filler in fillers:
            filler.close()


def test_a_refused_connection_is_an_upstream_away(trial: Trial, refusing: str) -> None:
    assert "cannot connect" in fails_with(UpstreamAway, lambda: trial.ask(refusing))


@pytest.mark.parametrize(
    "url",
    [
        "http://no-such-host.invalid/v1",
        "http://127.0.0.1:0/v1",
        "http://127.0.0.1:99999/v1",
        "http://[::1/v1",
        "ftp://127.0.0.1/v1",
        "file:///etc/hostname",
        "gpu:8000/v1",
        "/v1",
        "",
    ],
)
def test_an_unusable_url_is_an_upstream_away(trial: Trial, url: str) -> None:
    fails_with(UpstreamAway, lambda: trial.ask(url))


def test_a_connection_that_is_never_accepted_is_an_upstream_away(trial: Trial, never_accepting: str) -> None:
    said = fails_with(UpstreamAway, lambda: trial.ask(never_accepting, read_timeout=0.2))
    assert "within 0.1 s" in said
    assert "within 0.1 s" in fails_with(UpstreamAway, lambda: trial.ask(never_accepting, connect_timeout=0.1))


def test_silence_is_no_answer(trial: Trial, fake: FakeUpstream) -> None:
    url = f"{fake.base_url}/chat/completions"
    said = fails_with(NoAnswer, lambda: trial.ask(url, chat("hang"), read_timeout=0.1))
    assert said == "no answer within 0.1 s"


def test_silence_on_a_kept_connection_is_no_answer(trial: Trial) -> None:
    async def story(transport: Transport) -> None:
        await transport.send(server.url, {}, b"{}")
        await transport.send(server.url, {}, b"{}")

    with serving(holding(OK)) as server:
        fails_with(NoAnswer, lambda: trial.run(story, read_timeout=0.2))
    assert server.connections == 1


def test_no_timeout_is_lost_on_a_busy_loop(trial: Trial, fake: FakeUpstream) -> None:
    async def story(transport: Transport) -> None:
        loop = asyncio.get_running_loop()
        # In the turn in which libcurl names its time-out the loop's clock then is late.
        loop.call_soon(loop.call_soon, time.sleep, 0.15)
        await transport.send(f"{fake.base_url}/chat/completions", {}, chat("hang"))

    fails_with(NoAnswer, lambda: trial.run(lambda transport: asyncio.wait_for(story(transport), 5), read_timeout=0.4))


def test_an_upstream_that_went_away_between_two_requests_is_away(trial: Trial, fake: FakeUpstream) -> None:
    async def story(transport: Transport) -> None:
        url = f"{fake.base_url}/chat/completions"
        await asyncio.gather(*(transport.send(url, {}, chat("echo")) for _ in range(20)))
        await asyncio.to_thread(fake.stop)
        for _ in range(20):
            with pytest.raises(UpstreamAway):
                await transport.send(url, {}, chat("echo"))

    trial.run(story)


@pytest.mark.parametrize("reply", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"])
def test_an_answer_that_comes_too_slowly_is_no_answer(trial: Trial, reply: bytes) -> None:
    async def dribble(connection: Connection) -> None:
        await connection.request()
        await connection.say(reply)
        for _ in range(50):
            await connection.say(b"x")
            await asyncio.sleep(0.01)

    with serving(dribble) as server:
        fails_with(NoAnswer, lambda: trial.ask(server.url, read_timeout=0.2))


@pytest.mark.parametrize("model", ["truncated", "reset"])
def test_a_connection_that_breaks_is_a_broken_answer(trial: Trial, fake: FakeUpstream, model: str) -> None:
    fails_with(BrokenAnswer, lambda: trial.ask(f"{fake.base_url}/chat/completions", chat(model)))


@pytest.mark.parametrize("said", [b"HTTP/1.1 200 OK\r\nContent-", OK[:-1]])
def test_a_reset_in_mid_answer_is_a_broken_answer(trial: Trial, said: bytes) -> None:
    async def reset(connection: Connection) -> None:
        await connection.request()
        await connection.say(said)
        await asyncio.sleep(0.05)  # for the client to read what was said: a reset drops it
        connection.reset()

    with serving(reset) as server:
        fails_with(BrokenAnswer, lambda: trial.ask(server.url))


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200 OK\r\nContent-Len",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x16\x03\x01\x02\x00" * 50,
        b"HTTP/1.1 200 OK\r\nContent-Length: nine\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nzip!",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nmany\r\n{\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 400_000 + b"\r\n\r\n",
    ],
)
def test_what_is_not_a_whole_http_answer_is_a_broken_answer(trial: Trial, reply: bytes) -> None:
    with serving(saying(reply)) as server:
        fails_with(BrokenAnswer, lambda: trial.ask(server.url))


@pytest.mark.parametrize("value", ["Bearer a\r\nx: y", "Bearer a\nx: y", "Bearer a\0"])
def test_a_header_that_cannot_be_sent_is_a_broken_answer(trial: Trial, fake: FakeUpstream, value: str) -> None:
    url = f"{fake.base_url}/chat/completions"
    fails_with(BrokenAnswer, lambda: trial.ask(url, headers={"authorization": value}))
    assert fake.requests == []


# Cancelling


def test_cancelling_is_passed_on_and_others_are_not_disturbed(trial: Trial, fake: FakeUpstream) -> None:
    url = f"{fake.base_url}/chat/completions"

    async def story(transport: Transport) -> None:
        cancelled = asyncio.create_task(transport.send(url, {}, chat("hang")))
        other = asyncio.create_task(transport.send(url, {}, chat("hang", "other")))
        await asyncio.to_thread(fake.wait_for_requests, 2)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert content_of(await transport.send(url, {}, chat("echo", "next"))) == "next"
        fake.release()
        assert content_of(await other) == "other"

    trial.run(story)


def test_cancelling_at_any_moment_mixes_up_no_answers(trial: Trial, fake: FakeUpstream) -> None:
    url, chance = f"{fake.base_url}/chat/completions", random.Random(6)

    async def ask_and_check(transport: Transport, text: str) -> None:
        assert content_of(await transport.send(url, {}, chat("echo", text))) == text

    async def story(transport: Transport) -> None:
        for turn in range(30):
            tasks = [asyncio.create_task(ask_and_check(transport, f"{turn}-{n}")) for n in range(20)]
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
            for task in chance.sample(tasks, 10):
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                assert outcome is None or isinstance(outcome, asyncio.CancelledError), repr(outcome)

    trial.run(story)


def test_closing_ends_what_is_under_way(trial: Trial, fake: FakeUpstream) -> None:
    url = f"{fake.base_url}/chat/completions"

    async def story(transport: Transport) -> bytes:
        hanging = asyncio.create_task(transport.send(url, {}, chat("hang")))
        await asyncio.to_thread(fake.wait_for_requests, 1)
        await transport.close()
        with pytest.raises(BrokenAnswer):
            await hanging
        return (await transport.send(url, {}, chat("echo"))).body

    assert orjson.loads(trial.run(story))["object"] == "chat.completion"
