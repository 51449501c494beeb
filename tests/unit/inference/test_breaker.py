"""Breaker: pauses an upstream that is away, and finds it when it is back."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import structlog
from structlog.testing import CapturingLogger

from apps.inference.breaker import FAILURES, Breaker
from apps.inference.errors import NoAnswer, UpstreamAway
from apps.inference.halt import Halt
from apps.inference.loop import EventLoopThread
from apps.inference.presence import Presence
from apps.inference.upstream import Upstream
from apps.observability.outage import REMIND_SECONDS
from tests.unit.inference.clients import Silent, pool_of, slot_of


class World:
    """A breaker over two slots. Each probe waits until the test `finds` something; sleeps are noted and skipped."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.pool = pool_of(Upstream("gpu", "http://gpu/v1", max_in_flight=2), Silent())
        self.slots = self.pool.endpoints[0]
        self.halt = Halt()
        presence = Presence("gpu", "http://gpu/v1", clock=lambda: self.now)
        self.breaker = Breaker(self.slots, self._probe, presence, jitter=lambda: 1.0, sleep=self._sleep)
        self._outcomes: asyncio.Queue[Exception | None] = asyncio.Queue()

    def fail(self, times: int = FAILURES) -> None:
        for _ in range(times):
            self.breaker.away("cannot connect")

    def is_open(self) -> bool:
        return self.breaker.is_open

    async def finds(self, outcome: Exception | None) -> None:
        """The next probe ends so; None means that there was an answer."""
        self._outcomes.put_nowait(outcome)
        await settled()

    async def _probe(self) -> None:
        if outcome := await self._outcomes.get():
            raise outcome

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


async def settled() -> None:
    """Everybody has done what could be done."""
    for _ in range(10):
        await asyncio.sleep(0)


def play(story: Callable[[World], Awaitable[None]]) -> World:
    async def told() -> World:
        world = World()
        await story(world)
        return world

    return asyncio.run(told())


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> CapturingLogger:
    captured = CapturingLogger()
    monkeypatch.setattr("apps.inference.presence.log", structlog.wrap_logger(captured, processors=[]))
    return captured


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    async def story(world: World) -> None:
        world.fail(FAILURES - 1)
        assert not world.is_open()
        assert await world.pool.acquire(world.halt)
        world.fail(1)
        assert world.is_open()
        queued = asyncio.create_task(world.pool.acquire(world.halt))
        await settled()
        assert not queued.done()
        await world.finds(None)
        assert await queued

    play(story)


def test_an_answer_between_two_failures_starts_the_count_anew() -> None:
    async def story(world: World) -> None:
        world.fail(FAILURES - 1)
        world.breaker.answers()
        world.fail(FAILURES - 1)
        assert not world.is_open()

    play(story)


def test_who_queues_is_served_in_order_when_it_is_back() -> None:
    async def story(world: World) -> None:
        served = list[int]()

        async def take(number: int) -> None:
            assert await world.pool.acquire(world.halt)
            served.append(number)

        world.fail()
        tasks = [asyncio.create_task(take(number)) for number in range(4)]
        await settled()
        assert (served, world.slots.in_flight) == ([], 0)
        await world.finds(None)
        assert (served, world.slots.in_flight) == ([0, 1], 2)
        world.pool.release(slot_of(world.pool))
        world.pool.release(slot_of(world.pool))
        await asyncio.gather(*tasks)
        assert served == [0, 1, 2, 3]

    play(story)


def test_it_probes_until_there_is_an_answer_and_more_slowly_with_time() -> None:
    async def story(world: World) -> None:
        world.fail()
        for _ in range(5):
            await world.finds(UpstreamAway("cannot connect"))
        await world.finds(NoAnswer("no answer within 5 s"))
        assert world.is_open()
        await world.finds(None)
        assert not world.is_open()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    assert play(story).slept == [0.5, 1, 2, 4, 5, 5, 5]


def test_failures_of_lines_in_flight_start_no_second_probe() -> None:
    async def story(world: World) -> None:
        world.fail(20)
        await settled()
        assert len(asyncio.all_tasks()) == 2
        await world.finds(None)
        world.fail(FAILURES - 1)
        assert not world.is_open()

    play(story)


def test_the_answer_to_a_line_in_flight_closes_it() -> None:
    async def story(world: World) -> None:
        world.fail()
        await settled()
        world.breaker.answers()
        assert not world.is_open()
        assert await world.pool.acquire(world.halt)
        await settled()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    play(story)


def test_the_end_of_an_old_probe_does_not_close_a_breaker_that_opened_anew() -> None:
    async def story(world: World) -> None:
        world.fail()
        world.breaker.answers()
        world.fail()
        await settled()
        assert world.is_open()
        await world.finds(None)
        assert not world.is_open()

    play(story)


def test_a_probe_that_fails_in_an_unknown_way_is_logged_and_goes_on(said: CapturingLogger) -> None:
    async def story(world: World) -> None:
        world.fail()
        await world.finds(LookupError("a bug"))
        assert world.is_open()
        await world.finds(None)
        assert not world.is_open()

    play(story)
    assert [(call.method_name, call.kwargs["event"]) for call in said.calls] == [
        ("warning", "upstream away"),
        ("exception", "upstream probe failed"),
        ("info", "upstream is back"),
    ]


def test_probes_keep_the_reminders_going(said: CapturingLogger) -> None:
    async def story(world: World) -> None:
        world.fail()
        for _ in range(2):
            world.now += REMIND_SECONDS
            await world.finds(UpstreamAway("still refused"))
        world.breaker.answers()

    play(story)
    assert [(call.kwargs["event"], call.kwargs.get("cause"), call.kwargs["seconds"]) for call in said.calls] == [
        ("upstream away", "cannot connect", 0),
        ("upstream away", "still refused", 30),
        ("upstream away", "still refused", 60),
        ("upstream is back", None, 60),
    ]


def test_the_probe_says_nothing_about_the_run_whose_line_was_the_last_to_fail() -> None:
    seen: list[dict[str, object]] = []

    async def probe() -> None:
        seen.append(structlog.contextvars.get_contextvars())

    async def story(world: World) -> None:
        world.breaker = Breaker(world.slots, probe, Presence("gpu", "http://gpu/v1"), jitter=lambda: 0.0)
        with structlog.contextvars.bound_contextvars(batch_id="batch_1"):
            world.fail()
        while world.is_open():
            await asyncio.sleep(0)

    play(story)
    assert seen == [{}]


@pytest.mark.parametrize("begun", [True, False])
def test_a_loop_that_stops_ends_the_probe_and_leaves_nothing_paused(
    begun: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> World:
        world = World()
        world.fail()
        if begun:
            await settled()
        return world

    loop = EventLoopThread()
    try:
        world = loop.run(story())
        loop.stop()
        assert not world.is_open()
        assert loop.run(world.pool.acquire(world.halt))
    finally:
        loop.stop()
    assert not [record for record in caplog.records if record.name == "asyncio"]
