"""Halt: one signal, many waiters."""

import asyncio

from apps.inference.halt import Halt


def test_the_first_reason_wins() -> None:
    halt = Halt()
    halt.set("cancelled")
    halt.set("expired")
    assert halt.reason == "cancelled"


def test_setting_it_wakes_everyone_who_waits() -> None:
    async def story() -> list[bool]:
        halt = Halt()
        waits = [asyncio.create_task(halt.wait(3600)) for _ in range(1000)]
        waits.append(asyncio.create_task(halt.wait()))
        await asyncio.sleep(0)
        halt.set("shutdown")
        return await asyncio.gather(*waits)

    assert asyncio.run(story()) == [True] * 1001


def test_waiting_ends_when_the_time_is_up() -> None:
    assert asyncio.run(Halt().wait(0)) is False


def test_waiting_on_a_set_halt_returns_at_once() -> None:
    halt = Halt()
    halt.set("expired")
    assert asyncio.run(halt.wait(3600)) is True


def test_it_forgets_those_who_stopped_waiting() -> None:
    async def story() -> Halt:
        halt = Halt()
        await halt.wait(0)
        cancelled = asyncio.create_task(halt.wait(3600))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        return halt

    assert not asyncio.run(story())._watchers
