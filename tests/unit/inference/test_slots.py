"""Slots: never more than the limit, first come first served, nothing lost."""

import asyncio

import pytest

from apps.inference.halt import Halt
from apps.inference.slots import Slots


def test_it_hands_out_up_to_the_limit_without_waiting() -> None:
    async def story() -> int:
        slots, halt = Slots(3), Halt()
        assert [await slots.acquire(halt) for _ in range(3)] == [True] * 3
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
        assert await waiting is False
        assert await slots.acquire(halt) is False
        slots.release()
        assert slots.in_flight == 0
        assert await slots.acquire(Halt())

    asyncio.run(story())


def test_one_batch_halted_does_not_hold_up_another() -> None:
    async def story() -> bool:
        slots, halted, running = Slots(1), Halt(), Halt()
        await slots.acquire(running)
        turned_away = asyncio.create_task(slots.acquire(halted))
        served = asyncio.create_task(slots.acquire(running))
        await asyncio.sleep(0)
        halted.set("cancelled")
        slots.release()
        assert await turned_away is False
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


def test_giving_back_what_nobody_held_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="nobody held"):
        Slots(1).release()


def test_no_slots_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Slots(0)
