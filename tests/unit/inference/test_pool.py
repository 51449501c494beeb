"""Pool: never more than the limit, everybody in turn, nothing lost; over several upstreams, and when they change."""

import asyncio
from dataclasses import replace

import pytest

from apps.inference.endpoint import Endpoint
from apps.inference.halt import Halt
from apps.inference.pool import NoUpstream, Pool, Slot
from apps.inference.standing import Standing
from apps.inference.turns import ANYBODY, Turn
from apps.inference.upstream import Upstream
from tests.unit.inference.clients import Silent, in_flight, pool_of, slot_of

HUGE, SMALL = Turn("huge"), Turn("small")


class Slots:
    """Those of a pool with one upstream."""

    def __init__(self, limit: int) -> None:
        self.pool = pool_of(Upstream("gpu", "http://gpu/v1", max_in_flight=limit), Silent())
        self.pause, self.resume = self.pool.endpoints[0].pause, self.pool.endpoints[0].resume

    @property
    def in_flight(self) -> int:
        return in_flight(self.pool)

    async def acquire(self, halt: Halt, turn: Turn = ANYBODY) -> Slot | None:
        return await self.pool.acquire(halt, turn=turn)

    def release(self) -> None:
        self.pool.release(slot_of(self.pool))


def test_it_hands_out_up_to_the_limit_without_waiting() -> None:
    async def story() -> int:
        slots, halt = Slots(3), Halt()
        assert all([await slots.acquire(halt) for _ in range(3)])
        return slots.in_flight

    assert asyncio.run(story()) == 3


def test_waiters_are_served_in_order() -> None:
    async def story() -> list[int]:
        slots, halt, served = Slots(1), Halt(), list[int]()

        async def take(number: int) -> None:
            assert await slots.acquire(halt)
            served.append(number)
            slots.release()

        await slots.acquire(halt)
        tasks = [asyncio.create_task(take(number)) for number in range(5)]
        await asyncio.sleep(0)
        slots.release()
        await asyncio.gather(*tasks)
        assert slots.in_flight == 0
        return served

    assert asyncio.run(story()) == [0, 1, 2, 3, 4]


def test_a_slot_passed_on_cannot_be_snatched_by_a_latecomer() -> None:
    async def story() -> bool:
        slots, halt = Slots(1), Halt()
        await slots.acquire(halt)
        first = asyncio.create_task(slots.acquire(halt))
        await asyncio.sleep(0)
        slots.release()
        latecomer = asyncio.create_task(slots.acquire(halt))
        assert await first
        await asyncio.sleep(0)
        overtook = latecomer.done()
        slots.release()
        assert await latecomer
        return overtook

    assert asyncio.run(story()) is False


def test_a_halt_turns_everyone_away_and_takes_no_slot() -> None:
    async def story() -> None:
        slots, halt = Slots(1), Halt()
        await slots.acquire(halt)
        waiting = asyncio.create_task(slots.acquire(halt))
        await asyncio.sleep(0)
        halt.set("cancelled")
        assert await waiting is None
        assert await slots.acquire(halt) is None
        slots.release()
        assert slots.in_flight == 0
        assert await slots.acquire(Halt())

    asyncio.run(story())


def test_one_batch_halted_does_not_hold_up_another() -> None:
    async def story() -> Slot | None:
        slots, halted, running = Slots(1), Halt(), Halt()
        await slots.acquire(running)
        turned_away = asyncio.create_task(slots.acquire(halted))
        served = asyncio.create_task(slots.acquire(running))
        await asyncio.sleep(0)
        halted.set("cancelled")
        slots.release()
        assert await turned_away is None
        return await served

    assert asyncio.run(story())


@pytest.mark.parametrize("cancel_first", [True, False])
def test_a_cancelled_waiter_never_keeps_a_slot(cancel_first: bool) -> None:
    async def story() -> int:
        slots, halt = Slots(1), Halt()
        await slots.acquire(halt)
        waiting = asyncio.create_task(slots.acquire(halt))
        await asyncio.sleep(0)
        # Both within one turn of the loop: the slot may be handed over to a task that is already cancelled.
        first, second = (waiting.cancel, slots.release) if cancel_first else (slots.release, waiting.cancel)
        first()
        second()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
        return slots.in_flight

    assert asyncio.run(story()) == 0


# Paused


def test_while_paused_nobody_gets_a_slot_and_all_keep_their_place() -> None:
    async def story() -> list[int]:
        slots, halt, served = Slots(2), Halt(), list[int]()

        async def take(number: int) -> None:
            assert await slots.acquire(halt)
            served.append(number)

        assert await slots.acquire(halt)
        slots.pause()
        tasks = [asyncio.create_task(take(number)) for number in range(4)]
        await asyncio.sleep(0)
        slots.release()
        await asyncio.sleep(0)
        assert (served, slots.in_flight) == ([], 0)

        slots.resume()
        latecomer = asyncio.create_task(take(4))
        await asyncio.sleep(0)
        assert (served, slots.in_flight) == ([0, 1], 2)
        for _ in range(3):
            slots.release()
        await asyncio.gather(*tasks, latecomer)
        return served

    assert asyncio.run(story()) == [0, 1, 2, 3, 4]


def test_a_waiter_halted_while_paused_is_turned_away() -> None:
    async def story() -> None:
        slots, halt = Slots(1), Halt()
        slots.pause()
        halted, cancelled = (asyncio.create_task(slots.acquire(each)) for each in (halt, Halt()))
        await asyncio.sleep(0)
        halt.set("cancelled")
        cancelled.cancel()
        assert await halted is None
        slots.resume()
        assert slots.in_flight == 0
        assert await slots.acquire(Halt())

    asyncio.run(story())


def test_a_pause_and_its_end_may_be_repeated() -> None:
    async def story() -> int:
        slots = Slots(2)
        slots.pause()
        slots.pause()
        slots.resume()
        slots.resume()
        assert await slots.acquire(Halt())
        return slots.in_flight

    assert asyncio.run(story()) == 1


def test_giving_back_what_nobody_held_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="nobody held"):
        Slots(1).release()


# In turn


async def served_in_order(slots: Slots, turns: list[Turn], count: int) -> list[Turn]:
    """Who gets the next slots, one by one, when everybody in `turns` always wants one and gives it back at once."""
    halt, served = Halt(), list[Turn]()

    async def want(turn: Turn) -> None:
        while len(served) < count and (slot := await slots.acquire(halt, turn)):
            served.append(turn)
            await asyncio.sleep(0)
            slots.pool.release(slot)

    blocker = await slots.acquire(halt)
    assert blocker is not None
    wanting = [asyncio.create_task(want(turn)) for turn in turns]
    await asyncio.sleep(0)
    slots.pool.release(blocker)
    while len(served) < count:
        await asyncio.sleep(0)
    halt.set("enough")
    await asyncio.gather(*wanting)
    return served[:count]


def test_projects_take_turns_however_many_runs_they_have() -> None:
    served = asyncio.run(served_in_order(Slots(1), [HUGE] * 15 + [SMALL], 20))

    assert served.count(SMALL) == 10


def test_the_project_with_the_fewest_slots_is_next() -> None:
    async def story() -> list[str]:
        slots, halt = Slots(4), Halt()
        for _ in range(3):
            assert await slots.acquire(halt, HUGE)
        assert await slots.acquire(halt, SMALL)
        waiting = [asyncio.create_task(slots.acquire(halt, turn)) for turn in (HUGE, HUGE, SMALL, SMALL)]
        await asyncio.sleep(0)
        for _ in range(2):
            slots.pool.release(Slot(slots.pool.endpoints[0], HUGE.project))
        await asyncio.sleep(0)
        halt.set("enough")
        return [slot.project for task in waiting if (slot := await task)]

    # 2 and 1: the small one's turn. 1 and 2: the huge one's.
    assert asyncio.run(story()) == ["huge", "small"]


def test_in_a_project_the_oldest_batch_is_first() -> None:
    async def story() -> list[bool]:
        slots, halt = Slots(1), Halt()
        assert await slots.acquire(halt)
        ages = (3, 1, 2)
        waiting = {age: asyncio.create_task(slots.acquire(halt, Turn("", (age,)))) for age in ages}
        await asyncio.sleep(0)
        served = []
        for age in sorted(ages):
            slots.release()
            await asyncio.sleep(0)
            served.append(waiting[age].done())
        return served

    assert asyncio.run(story()) == [True, True, True]


def test_a_halt_in_the_queue_is_passed_over() -> None:
    async def story() -> list[Slot | None]:
        slots, halted, running = Slots(1), Halt(), Halt()
        assert await slots.acquire(running)
        waiting = [asyncio.create_task(slots.acquire(halt)) for halt in (halted, running, halted, running)]
        await asyncio.sleep(0)
        halted.set("cancelled")
        for _ in range(2):
            slots.release()
            await asyncio.sleep(0)
        return [await task for task in waiting]

    assert [slot is not None for slot in asyncio.run(story())] == [False, True, False, True]


# Several upstreams

A, B = (Upstream(name, f"http://{name}/v1", max_in_flight=2, models=(f"{name}-*", "both")) for name in "ab")


def pool_with(*upstreams: Upstream) -> Pool:
    pool = Pool(lambda upstream, on_room: Endpoint(upstream, Silent(), on_room=on_room))
    pool.configure(upstreams)
    return pool


async def names(pool: Pool, model: str, count: int) -> list[str]:
    """Where that many lines go at once."""
    slots = [await pool.acquire(Halt(), model) for _ in range(count)]
    return [slot.endpoint.name for slot in slots if slot]


def test_a_line_goes_where_its_model_is() -> None:
    async def story() -> list[list[str]]:
        pool = pool_with(A, B)
        return [await names(pool, "a-1", 1), await names(pool, "b-1", 1), await names(pool, "b-2", 1)]

    assert asyncio.run(story()) == [["a"], ["b"], ["b"]]


def test_several_for_one_model_share_by_fewest_in_flight() -> None:
    assert sorted(asyncio.run(names(pool_with(A, B), "both", 4))) == ["a", "a", "b", "b"]


def test_one_that_is_paused_leaves_its_load_to_the_others() -> None:
    async def story() -> list[str]:
        pool = pool_with(A, B)
        pool.endpoints[0].pause()
        return await names(pool, "both", 2)

    assert asyncio.run(story()) == ["b", "b"]


def test_who_waits_takes_the_first_upstream_with_room() -> None:
    async def story() -> str:
        pool = pool_with(A, B)
        taken = [await pool.acquire(Halt(), "both") for _ in range(4)]
        only_a, both = (asyncio.create_task(pool.acquire(Halt(), model)) for model in ("a-1", "both"))
        await asyncio.sleep(0)
        pool.release(next(slot for slot in taken if slot and slot.endpoint.name == "b"))
        slot = await both
        assert slot
        assert not only_a.done()
        pool.release(next(slot for slot in taken if slot and slot.endpoint.name == "a"))
        assert await only_a
        return slot.endpoint.name

    assert asyncio.run(story()) == "b"


def test_a_model_that_nobody_serves_is_an_error() -> None:
    with pytest.raises(NoUpstream, match="No upstream serves the model 'c-1'"):
        asyncio.run(names(pool_with(A, B), "c-1", 1))


# Changes


def test_who_waits_for_an_upstream_that_is_removed_goes_to_another_or_learns_that_there_is_none() -> None:
    async def story() -> tuple[str, object]:
        pool = pool_with(A)
        assert len(await names(pool, "both", 2)) == 2
        both, only_a = (asyncio.create_task(pool.acquire(Halt(), model)) for model in ("both", "a-1"))
        await asyncio.sleep(0)
        pool.configure([B])
        slot = await both
        assert slot
        return slot.endpoint.name, (await asyncio.gather(only_a, return_exceptions=True))[0]

    name, outcome = asyncio.run(story())
    assert name == "b"
    assert isinstance(outcome, NoUpstream)


def test_an_upstream_that_is_disabled_is_waited_for() -> None:
    async def story() -> bool:
        pool = pool_with(replace(A, enabled=False))
        waiting = asyncio.create_task(pool.acquire(Halt(), "both"))
        await asyncio.sleep(0)
        assert (waiting.done(), pool.standing("both")) == (False, Standing.UPSTREAM_PAUSED)
        pool.configure([A])
        return await waiting is not None

    assert asyncio.run(story())


def test_connections_are_kept_unless_their_settings_change() -> None:
    async def story() -> list[bool]:
        pool = pool_with(A)
        first = pool.endpoints[0]
        pool.configure([replace(A, max_in_flight=9, models=("*",))])
        kept = pool.endpoints[0] is first
        pool.configure([replace(A, base_url="http://elsewhere/v1")])
        return [kept, pool.endpoints[0] is first]

    assert asyncio.run(story()) == [True, False]


def test_a_removed_upstream_closes_its_connections_after_its_last_answer() -> None:
    class Closing(Silent):
        closed = False

        async def close(self) -> None:
            self.closed = True

    async def story() -> list[bool]:
        transport = Closing()
        pool = pool_of(A, transport)
        slot = await pool.acquire(Halt(), "both")
        assert slot
        pool.configure([])
        await asyncio.sleep(0)
        seen = [transport.closed]
        pool.release(slot)
        await asyncio.sleep(0)
        return [*seen, transport.closed]

    assert asyncio.run(story()) == [False, True]
