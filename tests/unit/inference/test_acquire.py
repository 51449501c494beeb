"""Client.acquire, the one door to the upstream: the run is valid, the upstream is there, a slot is free."""

import asyncio
from dataclasses import dataclass

from apps.inference.breaker import FAILURES
from apps.inference.client import Client, Completed, Result, Unsent
from apps.inference.halt import Halt
from apps.inference.pool import Slot
from tests.fakes.upstream import FakeUpstream
from tests.unit.inference.clients import Lines, SkippedPauses, client_of, in_flight, line, slot_of


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def never(_: float) -> None:
    await asyncio.Event().wait()


def test_nobody_passes_while_the_run_is_stale(fake: FakeUpstream) -> None:
    async def story() -> None:
        halt = Halt(valid_until=10.0, clock=Clock(20.0))
        async with client_of(fake) as client:
            waiting = asyncio.create_task(client.pool.acquire(halt))
            await settled()
            assert (waiting.done(), in_flight(client.pool)) == (False, 0)
            halt.prolong(30.0)
            assert await waiting
            client.pool.release(slot_of(client.pool))

    asyncio.run(story())


def test_a_stale_run_that_is_halted_is_turned_away(fake: FakeUpstream) -> None:
    async def story() -> Slot | None:
        halt = Halt(valid_until=10.0, clock=Clock(20.0))
        async with client_of(fake) as client:
            waiting = asyncio.create_task(client.pool.acquire(halt))
            await settled()
            halt.set("cancelled")
            return await waiting

    assert asyncio.run(story()) is None


def test_a_run_that_went_stale_in_the_queue_leaves_the_slot_to_the_next(fake: FakeUpstream) -> None:
    async def story() -> None:
        clock = Clock()
        stale, valid = Halt(valid_until=10.0, clock=clock), Halt()
        async with client_of(fake, max_in_flight=1) as client:
            assert await client.pool.acquire(valid)
            first, second = (asyncio.create_task(client.pool.acquire(halt)) for halt in (stale, valid))
            await settled()
            clock.now = 20.0
            client.pool.release(slot_of(client.pool))
            assert await second
            client.pool.release(slot_of(client.pool))
            await settled()
            assert (first.done(), in_flight(client.pool)) == (False, 0)
            stale.prolong(30.0)
            assert await first
            client.pool.release(slot_of(client.pool))

    asyncio.run(story())


def test_a_run_halted_in_the_turn_in_which_it_gets_a_slot_holds_none(fake: FakeUpstream) -> None:
    async def story() -> Slot | None:
        halt = Halt()
        async with client_of(fake, max_in_flight=1) as client:
            assert await client.pool.acquire(halt)
            waiting = asyncio.create_task(client.pool.acquire(halt))
            await settled()
            client.pool.release(slot_of(client.pool))
            halt.set("cancelled")
            return await waiting

    assert asyncio.run(story()) is None


def test_a_line_whose_run_goes_stale_before_its_first_step_is_not_sent(fake: FakeUpstream) -> None:
    async def story() -> None:
        clock = Clock()
        halt = Halt(valid_until=10.0, clock=clock)
        async with client_of(fake) as client:
            assert await client.pool.acquire(halt)
            lines = Lines(line())
            task = client.start(lines, halt, slot_of(client.pool))
            clock.now = 20.0
            await settled()
            assert (in_flight(client.pool), fake.request_count) == (0, 0)
            halt.prolong(30.0)
            assert task
            await task
            assert isinstance(lines.results["batch_req_1"], Completed)

    asyncio.run(story())


def test_a_line_in_flight_keeps_its_answer_but_is_not_sent_again_while_stale(fake: FakeUpstream) -> None:
    clock = Clock()
    halt = Halt(valid_until=10.0, clock=clock)

    def goes_stale(_: int) -> None:
        clock.now = 20.0

    async def story() -> tuple[Result, Result]:
        async with client_of(fake, SkippedPauses(goes_stale)) as client:
            in_flight = asyncio.create_task(client.complete(line("hang", 1), halt))
            await asyncio.to_thread(fake.wait_for_requests, 1)
            backs_off = asyncio.create_task(client.complete(line("flaky-1", 2), halt))
            await asyncio.to_thread(fake.wait_for_requests, 2)
            fake.release()
            answered = await in_flight
            await settled()
            assert not backs_off.done()
            assert fake.request_count == 2
            halt.prolong(30.0)
            return answered, await backs_off

    answered, sent_again = asyncio.run(story())
    assert isinstance(answered, Completed)
    assert isinstance(sent_again, Completed)
    assert fake.request_count == 3


async def break_off(client: Client) -> list[asyncio.Task[Result]]:
    """Lines that find nobody there, as many as open the breaker; they queue again, behind the pause."""
    tasks = [asyncio.create_task(client.complete(line("echo", number), Halt())) for number in range(FAILURES)]
    while client.pool.standing(None) is None:
        await asyncio.sleep(0.001)
    return tasks


def test_lines_of_an_upstream_that_is_away_wait_without_slots_and_go_out_when_it_is_back(fake: FakeUpstream) -> None:
    fake.stop()

    async def story() -> list[Result]:
        start = asyncio.Event()

        async def sleep(_: float) -> None:
            await start.wait()

        async with client_of(fake, SkippedPauses(), max_attempts=1, sleep=sleep) as client:
            tasks = await break_off(client)
            while in_flight(client.pool):
                await asyncio.sleep(0.001)
            halt = Halt()
            halted, waiting = (asyncio.create_task(client.pool.acquire(each)) for each in (halt, Halt()))
            await settled()
            halt.set("cancelled")
            assert await halted is None
            assert not waiting.done()

            await asyncio.to_thread(fake.start)
            start.set()
            assert await waiting
            client.pool.release(slot_of(client.pool))
            return await asyncio.gather(*tasks)

    assert all(isinstance(result, Completed) for result in asyncio.run(story()))
    assert (fake.request_count, fake.probes) == (FAILURES, 1)


def test_a_line_that_waits_for_an_upstream_away_can_be_halted(fake: FakeUpstream) -> None:
    fake.stop()

    async def story() -> Result:
        halt = Halt()
        async with client_of(fake, SkippedPauses(), sleep=never) as client:
            task = asyncio.create_task(client.complete(line(), halt))
            while client.pool.standing(None) is None:
                await asyncio.sleep(0.001)
            await settled()
            halt.set("cancelled")
            return await task

    result = asyncio.run(story())
    assert isinstance(result, Unsent)
    assert result.cause is not None
    assert result.cause.startswith("cannot connect")
