"""Sender: a slot is kept from line to line, for as long as nobody else's turn comes first."""

import asyncio
import random
from collections import Counter

from apps.inference.client import Client, Completed, Failed, Unsent
from apps.inference.halt import Halt
from apps.inference.pool import Slot
from apps.inference.turns import Turn, Turns
from apps.inference.upstream import Upstream
from tests.fakes.upstream import FakeUpstream
from tests.unit.inference.clients import Lines, SkippedPauses, client_of, in_flight, line

ALICE, BOB = Turn("alice", (1,)), Turn("bob", (1,))


async def start(client: Client, lines: Lines, halt: Halt, turn: Turn) -> asyncio.Task[None]:
    slot = await client.pool.acquire(halt, turn=turn)
    assert slot
    task = client.start(lines, halt, slot, turn=turn)
    assert task
    return task


def numbered(count: int, model: str = "echo") -> Lines:
    return Lines(*(line(model, number) for number in range(count)))


def test_one_slot_sends_line_after_line(fake: FakeUpstream) -> None:
    lines = numbered(20)

    async def story() -> None:
        async with client_of(fake, max_in_flight=1) as client:
            await (await start(client, lines, Halt(), ALICE))

    asyncio.run(story())
    assert len(lines.results) == 20
    assert fake.max_in_flight == 1


def test_a_slot_goes_to_whoever_has_fewer(fake: FakeUpstream) -> None:
    mine, others = numbered(10), Lines(line("echo", 100))

    async def story() -> int:
        async with client_of(fake, max_in_flight=1) as client:
            fake.gate.close()
            first = await start(client, mine, Halt(), ALICE)
            waiting = asyncio.create_task(start(client, others, Halt(), BOB))
            await asyncio.sleep(0)
            fake.gate.open()
            await (await waiting)
            await first
            return len(mine.results)

    assert asyncio.run(story()) == 1
    assert isinstance(others.results["batch_req_100"], Completed)


def test_a_slot_goes_to_the_older_batch_of_the_same_project(fake: FakeUpstream) -> None:
    mine, older = numbered(10), numbered(10)

    async def story() -> int:
        async with client_of(fake, max_in_flight=1) as client:
            fake.gate.close()
            first = await start(client, mine, Halt(), Turn("alice", (2,)))
            waiting = asyncio.create_task(start(client, older, Halt(), Turn("alice", (1,))))
            await asyncio.sleep(0)
            fake.gate.open()
            await (await waiting)
            await first
            return len(mine.results)

    assert asyncio.run(story()) == 1
    assert len(older.results) == 10, "and keeps it, since the younger one comes after"


def test_a_line_that_backed_off_gives_its_slot_up_and_the_sender_ends_or_goes_on(fake: FakeUpstream) -> None:
    lines = Lines(line("flaky-1", 1), line("status-400", 2), line("echo", 3))

    async def story() -> None:
        async with client_of(fake, SkippedPauses(), max_in_flight=1) as client:
            await (await start(client, lines, Halt(), ALICE))

    asyncio.run(story())
    kinds = [type(lines.results[f"batch_req_{number}"]) for number in (1, 2, 3)]
    assert kinds == [Completed, Failed, Completed]


def test_no_line_is_sent_after_the_halt(fake: FakeUpstream) -> None:
    lines = numbered(3)

    async def story() -> None:
        halt = Halt()
        async with client_of(fake, max_in_flight=1) as client:
            fake.gate.close()
            task = await start(client, lines, halt, ALICE)
            await asyncio.to_thread(fake.wait_for_requests, 1)
            halt.set("cancelled")
            fake.gate.open()
            await task

    asyncio.run(story())
    assert isinstance(lines.results.pop("batch_req_0"), Completed)
    assert set(map(type, lines.results.values())) <= {Unsent}
    assert fake.request_count == 1


def test_a_slot_is_not_kept_where_the_upstream_no_longer_serves_the_model(fake: FakeUpstream) -> None:
    async def story() -> bool:
        async with client_of(fake) as client:
            slot = await client.pool.acquire(Halt(), "echo")
            assert isinstance(slot, Slot)
            assert client.pool.keep(slot, "echo", ALICE)
            client.pool.configure([Upstream("fake", fake.base_url, max_in_flight=4, models=("other",))])
            kept = client.pool.keep(slot, "echo", ALICE)
            client.pool.release(slot)
            assert in_flight(client.pool) == 0
            return kept

    assert not asyncio.run(story())


def test_room_that_an_answer_has_made_goes_to_who_waits(fake: FakeUpstream) -> None:
    async def story() -> bool:
        async with client_of(fake, max_in_flight=1) as client:
            slot = await client.pool.acquire(Halt(), turn=ALICE)
            assert slot
            waiting = asyncio.create_task(client.pool.acquire(Halt(), turn=Turn("alice", (2,))))
            await asyncio.sleep(0)
            slot.endpoint._limit.ceiling = 2  # as the limiter does with an answer: it tells nobody
            assert client.pool.keep(slot, None, ALICE)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            found = waiting.done()
            for each in (slot, await waiting):
                assert each
                client.pool.release(each)
            return found

    assert asyncio.run(story())


def test_of_three_slots_two_projects_have_one_and_a_half_each() -> None:
    """The odd slot goes back and forth, because who keeps one counts as served."""

    async def story() -> list[str]:
        dice, turns, held, history = random.Random(7), Turns(), Counter({"alice": 2, "bob": 1}), []
        for turn in (ALICE, BOB):
            turns.add(("up",), None, turn, (None,))
        for _ in range(400):
            turn = dice.choices((ALICE, BOB), weights=(held["alice"], held["bob"]))[0]  # whichever is answered
            if not turns.is_next("up", held, turn):
                held[turn.project] -= 1
                waiter = turns.pop("up", held)
                assert waiter
                held[waiter.project] += 1
                turns.add(("up",), None, Turn(waiter.project, (1,)), (None,))
            history.append("alice" if held["alice"] > held["bob"] else "bob")
        return history

    share = Counter(asyncio.run(story()))
    assert min(share["alice"], share["bob"]) >= 150
