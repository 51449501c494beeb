"""Client.standing: what an operator is told about an upstream at which nothing moves."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import pytest

from apps.inference.breaker import FAILURES
from apps.inference.client import Client
from apps.inference.errors import BrokenAnswer, NoAnswer, TransportError, UpstreamAway
from apps.inference.halt import Halt
from apps.inference.standing import BUSY_SECONDS, Standing
from apps.inference.transport import Answer
from apps.inference.upstream import Upstream
from tests.unit.inference.clients import line, pool_of, slot_of

OK = Answer(200, {}, b"{}")
THROTTLED = Answer(429, {}, b"")
AWAY = UpstreamAway("cannot connect")


@dataclass
class World:
    """A client and the transport under it in one: what the next request meets is `heard` from the test."""

    now: float = 0.0
    met: Answer | TransportError = OK
    halts: list[Halt] = field(default_factory=list)

    def __post_init__(self) -> None:
        upstream = Upstream("gpu", "http://gpu", max_attempts=1)
        self.client = Client(pool_of(upstream, self, clock=lambda: self.now), pause=self._pause)

    async def heard(self, met: Answer | TransportError) -> Standing | None:
        """Send one line, which meets this and is not sent again."""
        self.met = met
        await self.client.complete(line(), Halt())
        return self.client.pool.standing(None)

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if isinstance(self.met, TransportError):
            raise self.met
        return self.met

    async def probe(self, url: str, headers: Mapping[str, str]) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None: ...

    async def _pause(self, halt: Halt, seconds: float) -> bool:
        return True


def play(story: Callable[[World], Awaitable[None]]) -> None:
    async def told() -> None:
        await story(World())

    asyncio.run(told())


def test_nothing_is_in_the_way_at_first_and_while_there_are_answers() -> None:
    async def story(world: World) -> None:
        assert world.client.pool.standing(None) is None
        assert await world.heard(OK) is None

    play(story)


@pytest.mark.parametrize("status", [429, 503])
def test_an_upstream_that_turns_all_lines_away_for_a_while_is_busy(status: int) -> None:
    async def story(world: World) -> None:
        assert await world.heard(Answer(status, {}, b"")) is None
        world.now = BUSY_SECONDS - 0.1
        assert await world.heard(Answer(status, {}, b"")) is None
        world.now = BUSY_SECONDS
        assert world.client.pool.standing(None) is Standing.UPSTREAM_BUSY

    play(story)


@pytest.mark.parametrize(
    "other", [OK, Answer(400, {}, b""), Answer(500, {}, b""), NoAnswer("-"), BrokenAnswer("-"), AWAY]
)
def test_anything_else_says_that_it_is_no_longer_just_busy(other: Answer | TransportError) -> None:
    async def story(world: World) -> None:
        await world.heard(THROTTLED)
        world.now = 10.0
        assert await world.heard(THROTTLED) is Standing.UPSTREAM_BUSY
        assert await world.heard(other) is None
        assert await world.heard(THROTTLED) is None
        world.now += BUSY_SECONDS
        assert world.client.pool.standing(None) is Standing.UPSTREAM_BUSY

    play(story)


def test_an_upstream_that_is_away_is_paused_not_busy_and_is_neither_when_it_is_back() -> None:
    async def story(world: World) -> None:
        await world.heard(THROTTLED)
        world.now = 10.0
        for _ in range(FAILURES - 1):
            assert await world.heard(AWAY) is None
        in_flight = Halt()
        assert await world.client.pool.acquire(in_flight)
        assert await world.heard(AWAY) is Standing.UPSTREAM_PAUSED

        world.met = OK
        await world.client.complete(line(), in_flight, slot=slot_of(world.client.pool))
        assert world.client.pool.standing(None) is None

    play(story)


def test_its_names_are_fit_for_an_api() -> None:
    assert [str(standing) for standing in Standing] == ["upstream_paused", "upstream_busy"]
