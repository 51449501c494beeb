"""Client: every policy of architecture.md §4 over real HTTP, with the waits skipped but noted."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
import pytest

from apps.inference.client import Client, Completed, Failed, LineRequest, Result, Unsent
from apps.inference.halt import Halt
from apps.inference.usage import Usage
from tests.fakes.upstream import FakeUpstream
from tests.unit.inference.clients import PATH, Lines, SkippedPauses, client_of, in_flight, line, slot_of


def run_one(fake: FakeUpstream, model: str, pauses: SkippedPauses | None = None, **options: Any) -> Result:
    async def story() -> Result:
        async with client_of(fake, pauses or SkippedPauses(), **options) as client:
            return await client.complete(line(model), Halt())

    return asyncio.run(story())


async def arrived(fake: FakeUpstream, n: int) -> None:
    await asyncio.to_thread(fake.wait_for_requests, n)


# Done at the first attempt


def test_an_answer_completes_the_line(fake: FakeUpstream) -> None:
    result = run_one(fake, "echo")
    assert isinstance(result, Completed)
    assert result.status_code == 200
    assert result.request_id == "req_up_1"
    assert result.usage == Usage(5, 2, 7, 3, 12)
    assert orjson.loads(result.body)["choices"][0]["message"]["content"] == "hello 1"


def test_the_body_is_sent_byte_for_byte_to_the_right_path(fake: FakeUpstream) -> None:
    body = '{ "model":"echo",  "model": "echo", "n": 1.0e0, "text": "smörgås \\ud83e\\udd6a" }'.encode()

    async def story() -> None:
        async with client_of(fake) as client:
            assert isinstance(await client.complete(LineRequest("batch_req_1", PATH, body), Halt()), Completed)

    asyncio.run(story())
    assert fake.requests[0].body == body
    assert fake.requests[0].path == PATH


def test_headers(fake: FakeUpstream) -> None:
    run_one(fake, "echo", api_key="sk-1\n")
    headers = fake.requests[0].headers
    assert headers["content-type"] == "application/json"
    assert headers["accept"] == "application/json"
    assert headers["x-request-id"] == "batch_req_1"
    assert headers["authorization"] == "Bearer sk-1"


def test_without_a_key_there_is_no_authorization(fake: FakeUpstream) -> None:
    run_one(fake, "echo")
    assert "authorization" not in fake.requests[0].headers


def test_a_pretty_answer_comes_back_on_one_line(fake: FakeUpstream) -> None:
    result = run_one(fake, "pretty")
    assert isinstance(result, Completed)
    assert result.body.splitlines() == [result.body]


def test_an_emoji_cut_in_half_is_kept(fake: FakeUpstream) -> None:
    result = run_one(fake, "surrogate")
    assert isinstance(result, Completed)
    assert b"cut here: \\ud83d" in result.body


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("status-400", "invalid_request_error"),
        ("status-401", "authentication_error"),
        ("status-402", "insufficient_quota"),
        ("status-404", "not_found_error"),
        ("status-413", "request_too_large"),
        ("context", "context_length_exceeded"),
        ("quota", "insufficient_quota"),
    ],
)
def test_the_lines_own_fault_fails_at_once(fake: FakeUpstream, model: str, code: str) -> None:
    result = run_one(fake, model)
    assert isinstance(result, Failed)
    assert (result.code, result.param) == (code, "model")
    assert fake.request_count == 1


# Attempts


def test_it_tries_again_until_there_is_an_answer(fake: FakeUpstream) -> None:
    pauses = SkippedPauses()
    assert isinstance(run_one(fake, "flaky-3", pauses), Completed)
    assert fake.count_by_request_id == {"batch_req_1": 4}
    assert pauses.seconds == [0.5, 1, 2]


@pytest.mark.parametrize(
    ("model", "code", "last"),
    [
        ("status-500", "internal_error", "upstream answered 500: Scripted 500"),
        ("status-302", "internal_error", "upstream answered 302: Scripted 302"),
        ("status-408", "timeout", "upstream answered 408: Scripted 408"),
        ("status-409", "invalid_request_error", "upstream answered 409: Scripted 409"),
        ("status-425", "invalid_request_error", "upstream answered 425: Scripted 425"),
        ("garbage", "internal_error", "upstream answered 200 with a body that is not a JSON object"),
        ("reset", "internal_error", "connection lost: "),
        ("truncated", "internal_error", "answer cut short or garbled: "),
    ],
)
def test_it_gives_up_after_the_last_attempt(fake: FakeUpstream, model: str, code: str, last: str) -> None:
    result = run_one(fake, model)
    assert isinstance(result, Failed)
    assert result.code == code
    assert result.message.startswith(f"No usable answer after 4 attempts; last: {last}")
    assert fake.request_count == 4


def test_silence_at_every_attempt_is_a_timeout(fake: FakeUpstream) -> None:
    result = run_one(fake, "hang", read_timeout=0.05, max_attempts=2)
    assert result == Failed("timeout", "No usable answer after 2 attempts; last: no answer within 0.05 s")


def test_silence_after_another_cause_is_not_a_timeout(fake: FakeUpstream) -> None:
    def close_gate(_: int) -> None:
        fake.gate.close()

    result = run_one(fake, "status-500", SkippedPauses(close_gate), read_timeout=0.2, max_attempts=2)
    assert result == Failed("internal_error", "No usable answer after 2 attempts; last: no answer within 0.2 s")


def test_one_attempt_is_one_attempt(fake: FakeUpstream) -> None:
    result = run_one(fake, "garbage", max_attempts=1)
    assert isinstance(result, Failed)
    assert result.message.startswith("No usable answer after 1 attempt; last: ")


# Waiting


def test_a_busy_upstream_uses_no_attempt(fake: FakeUpstream) -> None:
    pauses = SkippedPauses()
    assert isinstance(run_one(fake, "busy-9", pauses, max_attempts=1), Completed)
    assert fake.request_count == 10
    assert pauses.seconds == [0.5] + [1.0] * 8


@pytest.mark.parametrize("status", [429, 503])
def test_it_waits_as_long_as_it_was_told(fake: FakeUpstream, status: int) -> None:
    halt = Halt()
    pauses = SkippedPauses(lambda count: halt.set("cancelled") if count == 2 else None)

    async def story() -> Result:
        async with client_of(fake, pauses) as client:
            return await client.complete(line(f"status-{status}"), halt)

    assert isinstance(asyncio.run(story()), Unsent)
    assert pauses.seconds == [1.5, 2.0]


def test_an_upstream_that_is_away_uses_no_attempt_and_is_found_when_it_is_back(fake: FakeUpstream) -> None:
    fake.stop()
    pauses, between_probes = SkippedPauses(), list[float]()

    async def sleep(seconds: float) -> None:
        between_probes.append(seconds)
        if len(between_probes) == 8:
            await asyncio.to_thread(fake.start)

    assert isinstance(run_one(fake, "echo", pauses, max_attempts=1, sleep=sleep), Completed)
    assert pauses.seconds == [0.5, 1, 2, 4, 8]
    assert between_probes == [0.5, 1, 2, 4, 5, 5, 5, 5]
    assert (fake.request_count, fake.probes) == (1, 1)


def test_no_slot_is_held_while_it_backs_off(fake: FakeUpstream) -> None:
    held: list[int] = []

    async def story() -> None:
        pauses = SkippedPauses(lambda count: held.append(in_flight(client.pool)))
        async with client_of(fake, pauses) as client:
            await client.complete(line("flaky-2"), Halt())

    asyncio.run(story())
    assert held == [0, 0]


# Halt


def halted_while(fake: FakeUpstream, model: str, requests: int) -> Result:
    """Halt a line that backs off for real, after that many requests have been answered."""

    async def story() -> Result:
        halt = Halt()
        paused = asyncio.Event()

        async def pause(halt: Halt, _: float) -> bool:
            paused.set()
            return await halt.wait(3600)

        async with client_of(fake) as client:
            client._pause = pause
            task = asyncio.create_task(client.complete(line(model), halt))
            await paused.wait()
            halt.set("cancelled")
            return await task

    result = asyncio.run(story())
    assert fake.request_count == requests
    return result


def test_a_throttled_line_that_is_halted_says_so(fake: FakeUpstream) -> None:
    cause = "upstream answered 429: Scripted 429"
    assert halted_while(fake, "status-429", 1) == Unsent(
        Failed("rate_limit_exceeded", f"Still throttled; last: {cause}"), cause
    )


@pytest.mark.parametrize("status", [500, 503])
def test_a_line_halted_while_it_backs_off_is_unsent(fake: FakeUpstream, status: int) -> None:
    assert halted_while(fake, f"status-{status}", 1) == Unsent(None, f"upstream answered {status}: Scripted {status}")


def test_a_line_halted_while_the_upstream_is_away_is_unsent(fake: FakeUpstream) -> None:
    fake.stop()
    result = halted_while(fake, "echo", 0)
    assert isinstance(result, Unsent)
    assert result.last is None
    assert result.cause is not None
    assert result.cause.startswith("cannot connect to the upstream: ")


def test_a_line_halted_while_it_queues_for_a_slot_is_never_sent(fake: FakeUpstream) -> None:
    async def story() -> tuple[Result, Result]:
        halt = Halt()
        async with client_of(fake, max_in_flight=1) as client:
            sent = asyncio.create_task(client.complete(line("hang", 1), Halt()))
            await arrived(fake, 1)
            queued = asyncio.create_task(client.complete(line("echo", 2), halt))
            await asyncio.sleep(0)
            halt.set("cancelled")
            unsent = await queued
            fake.release()
            return await sent, unsent

    sent, unsent = asyncio.run(story())
    assert isinstance(sent, Completed)
    assert unsent == Unsent()
    assert fake.count_by_request_id == {"batch_req_1": 1}


def test_a_line_in_flight_finishes_after_the_halt(fake: FakeUpstream) -> None:
    async def story() -> Result:
        halt = Halt()
        async with client_of(fake) as client:
            task = asyncio.create_task(client.complete(line("hang"), halt))
            await arrived(fake, 1)
            halt.set("cancelled")
            fake.release()
            return await task

    assert isinstance(asyncio.run(story()), Completed)


def test_a_halt_before_the_start_sends_nothing_and_gives_the_callers_slot_back(fake: FakeUpstream) -> None:
    async def story() -> tuple[Result, Result]:
        halt = Halt()
        async with client_of(fake) as client:
            assert await client.pool.acquire(halt)
            halt.set("expired")
            held = await client.complete(line(), halt, slot=slot_of(client.pool))
            return held, await client.complete(line(), halt)

    assert asyncio.run(story()) == (Unsent(), Unsent())
    assert fake.request_count == 0


# Slots


def test_never_more_in_flight_than_slots(fake: FakeUpstream) -> None:
    lines = Lines(*(line("echo", number) for number in range(200)))

    async def story() -> None:
        halt, tasks = Halt(), []
        async with client_of(fake, max_in_flight=8) as client:
            while lines.waiting:
                assert await client.pool.acquire(halt)
                tasks.append(client.start(lines, halt, slot_of(client.pool)))
            await asyncio.gather(*filter(None, tasks))

    asyncio.run(story())
    assert len(lines.results) == 200
    assert all(isinstance(result, Completed) for result in lines.results.values())
    assert len(fake.count_by_request_id) == 200
    assert fake.max_in_flight <= 8


def test_in_flight_reaches_the_limit(fake: FakeUpstream) -> None:
    async def story() -> None:
        fake.gate.close()
        async with client_of(fake, max_in_flight=8) as client:
            tasks = [asyncio.create_task(client.complete(line("echo", number), Halt())) for number in range(20)]
            await arrived(fake, 8)
            assert in_flight(client.pool) == 8
            fake.gate.open()
            await asyncio.gather(*tasks)

    asyncio.run(story())
    assert fake.max_in_flight == 8


Begin = Callable[[Client, Halt], Coroutine[Any, Any, asyncio.Task[Any]]]


async def with_own_slot(client: Client, halt: Halt) -> asyncio.Task[Result]:
    return asyncio.create_task(client.complete(line("hang"), halt))


async def with_held_slot(client: Client, halt: Halt) -> asyncio.Task[Result]:
    assert await client.pool.acquire(halt)
    return asyncio.create_task(client.complete(line("hang"), halt, slot=slot_of(client.pool)))


async def started(client: Client, halt: Halt) -> asyncio.Task[Any]:
    assert await client.pool.acquire(halt)
    task = client.start(Lines(line("hang")), halt, slot_of(client.pool))
    assert task
    return task


@pytest.mark.parametrize("begin", [with_own_slot, with_held_slot, started])
def test_a_line_cancelled_in_flight_gives_its_slot_back(fake: FakeUpstream, begin: Begin) -> None:
    async def story() -> None:
        async with client_of(fake) as client:
            task = await begin(client, Halt())
            await arrived(fake, 1)
            assert in_flight(client.pool) == 1
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled()

    asyncio.run(story())


@pytest.mark.parametrize("begin", [with_own_slot, started])
def test_a_line_cancelled_before_its_first_step_gives_its_slot_back(fake: FakeUpstream, begin: Begin) -> None:
    async def story() -> None:
        async with client_of(fake) as client:
            task = await begin(client, Halt())
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled()

    asyncio.run(story())
    assert fake.request_count == 0


def test_many_lines_many_faults_each_answered_once(fake: FakeUpstream) -> None:
    models = ["echo", "flaky-2", "busy-3", "status-400", "garbage", "reset", "surrogate", "slow-1"]

    async def story() -> list[Result]:
        async with client_of(fake, SkippedPauses(), max_in_flight=16) as client:
            lines = [line(models[number % len(models)], number) for number in range(160)]
            return await asyncio.gather(*(client.complete(each, Halt()) for each in lines))

    results = asyncio.run(story())
    kinds = [type(result) for result in results]
    assert (kinds.count(Completed), kinds.count(Failed)) == (100, 60)
    for number, result in enumerate(results):
        if isinstance(result, Completed) and models[number % len(models)] != "surrogate":
            assert f"hello {number}".encode() in result.body
