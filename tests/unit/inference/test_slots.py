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
        assert await halted is False
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


def test_no_slots_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Slots(0)
