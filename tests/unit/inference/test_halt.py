"""Halt: one signal, many waiters; and a run that is valid only for so long."""

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


# Staleness


def test_a_run_is_valid_for_ever_unless_told_otherwise() -> None:
    halt = Halt()
    assert halt.is_clear
    assert asyncio.run(halt.may_send()) is True


def test_a_halted_run_may_not_send() -> None:
    halt = Halt()
    halt.set("cancelled")
    assert not halt.is_clear
    assert asyncio.run(halt.may_send()) is False


def test_a_run_is_stale_once_its_time_is_up() -> None:
    now = [9.9]
    halt = Halt(valid_until=10.0, clock=lambda: now[0])
    assert halt.is_clear
    now[0] = 10.0
    assert not halt.is_clear


def test_a_stale_run_waits_until_it_is_prolonged_into_the_future() -> None:
    async def story() -> None:
        halt = Halt(valid_until=10.0, clock=lambda: 20.0)
        waits = [asyncio.create_task(halt.may_send()) for _ in range(3)]
        await asyncio.sleep(0)
        halt.prolong(15.0)
        for _ in range(3):
            await asyncio.sleep(0)
        assert not any(wait.done() for wait in waits)
        halt.prolong(25.0)
        assert await asyncio.gather(*waits) == [True] * 3

    asyncio.run(story())


def test_each_time_it_is_stale_it_waits_anew() -> None:
    async def story() -> None:
        now = [0.0]
        halt = Halt(clock=lambda: now[0])
        for until in (10.0, 20.0):
            halt.prolong(until)
            assert await halt.may_send()
            now[0] = until
            stale = asyncio.create_task(halt.may_send())
            await asyncio.sleep(0)
            assert not stale.done()
            halt.prolong(until + 1)
            assert await stale

    asyncio.run(story())


def test_a_halt_wakes_a_stale_run() -> None:
    async def story() -> list[bool]:
        halt = Halt(valid_until=10.0, clock=lambda: 20.0)
        waits = [asyncio.create_task(halt.may_send()) for _ in range(3)]
        await asyncio.sleep(0)
        halt.set("cancelled")
        halt.prolong(30.0)
        return await asyncio.gather(*waits, halt.may_send())

    assert asyncio.run(story()) == [False] * 4
