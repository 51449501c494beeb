"""Blocks of slots: what the script in Redis grants, step by step, and processes that lease on a real event loop."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import redis
import structlog
from django.conf import settings
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from apps.inference import blocks
from apps.inference.blocks import SCRIPT, Demand, SlotBlocks

TTL, TURN = 3_000, 10_000  # ms


@pytest.fixture(scope="module")
def broker() -> Iterator[redis.Redis]:
    with redis.Redis.from_url(settings.REDIS_URL, decode_responses=True) as client:
        yield client


class Member:
    """A process as the script sees it."""

    def __init__(self, name: str, wanted: int = 0) -> None:
        self.name = name
        self.wanted = wanted
        self.share = 0
        self.in_flight = 0
        self.round = 0

    @property
    def most(self) -> int:
        """What it may have in flight, whatever it does, until it gets the next answer."""
        return max(self.share, self.in_flight)


class Fleet:
    """Members, one upstream, and time that passes because the past is moved back."""

    def __init__(self, broker: redis.Redis, cap: int, *wanted: int, warm: bool = True) -> None:
        self.cap = cap
        self.members = [Member(f"worker-{number}", wants) for number, wants in enumerate(wanted)]
        self._broker = broker
        self._key = f"slots:test-{uuid4()}"
        self._script = broker.register_script(SCRIPT)
        if warm:
            self.round()
            self.passes(TTL - 100)
            self.round()
            self.passes(200)
            self.settle()

    @property
    def shares(self) -> list[int]:
        return [member.share for member in self.members]

    def report(self, member: Member, *, is_answered: bool = True, sends_meanwhile: int = 0) -> None:
        member.round += 1
        argv: list[str | int]
        argv = [member.name, member.round, TTL, TURN, self.cap, member.wanted, member.share, member.in_flight]
        [grant] = self._script(keys=[self._key], args=argv)
        member.in_flight = max(member.in_flight, min(member.share, member.in_flight + sends_meanwhile))
        if is_answered:
            member.share = grant

    def round(self) -> None:
        for member in self.members:
            self.report(member)

    def settle(self) -> None:
        for _ in range(4):
            self.round()

    def passes(self, ms: int) -> None:
        for name, value in self._broker.hgetall(self._key).items():
            times = [int(number) for number in value.split()]
            if name == "born":
                times[0] -= ms
            else:
                times[2] -= ms
                times[5] -= ms
            self._broker.hset(self._key, name, " ".join(map(str, times)))

    def is_emptied(self) -> None:
        self._broker.delete(self._key)


STEP = st.tuples(
    st.sampled_from(["report", "report", "report", "wants", "sends", "ends", "second", "dies", "empties"]),
    st.integers(0, 3),
    st.integers(0, 120),
    st.booleans(),
)


@given(steps=st.lists(STEP, max_size=60))
@hypothesis_settings(max_examples=60, deadline=None)
def test_four_processes_never_exceed_the_cap_whatever_happens(broker: redis.Redis, steps: list[Any]) -> None:
    fleet = Fleet(broker, 100, 30, 0, 200, 7)
    for what, who, number, flag in steps:
        member = fleet.members[who]
        if what == "report":
            fleet.report(member, is_answered=flag, sends_meanwhile=number)
        elif what == "wants":
            member.wanted = number
        elif what == "sends":
            member.in_flight = max(member.in_flight, min(member.share, member.in_flight + number))
        elif what == "ends":
            member.in_flight = max(0, member.in_flight - number)
        elif what == "dies":
            fleet.members[who] = Member(f"worker-{uuid4()}", wanted=number)  # its successor
        elif what == "empties":
            fleet.is_emptied()
        else:  # a second, in which everybody who lives reports
            fleet.passes(900)
            for each in fleet.members:
                fleet.report(each, is_answered=flag or each is member)
        assert sum(each.most for each in fleet.members) <= 100


def test_what_nobody_wants_is_divided_evenly(broker: redis.Redis) -> None:
    assert Fleet(broker, 100, 0, 0, 0, 0).shares == [25, 25, 25, 25]
    assert Fleet(broker, 100, 60, 0, 0, 0).shares == [70, 10, 10, 10]


@pytest.mark.parametrize(
    ("cap", "wanted", "shares"),
    [
        (100, (500, 0, 0, 0), [100, 0, 0, 0]),
        (100, (500, 500), [50, 50]),
        (90, (100, 10, 100), [40, 10, 40]),
        (100, (500, 3, 1, 500), [48, 3, 1, 48]),
        (100, (60, 60, 5), [48, 47, 5]),
        (0, (5, 5), [0, 0]),
    ],
)
def test_shares_are_fair_and_leave_nothing_over(
    broker: redis.Redis, cap: int, wanted: tuple[int, ...], shares: list[int]
) -> None:
    fleet = Fleet(broker, cap, *wanted)
    fleet.settle()
    assert sorted(fleet.shares) == sorted(shares)


def test_a_cap_that_does_not_divide_is_used_to_the_last_slot(broker: redis.Redis) -> None:
    fleet = Fleet(broker, 100, 500, 500, 500)
    fleet.settle()
    assert sorted(fleet.shares) == [33, 33, 34]


def test_nobody_grows_before_the_other_has_shrunk_and_said_so(broker: redis.Redis) -> None:
    fleet = Fleet(broker, 100, 500, 0)
    old, new = fleet.members
    fleet.settle()
    old.in_flight, new.wanted = 100, 500

    fleet.report(new)
    fleet.report(old)  # told to shrink to 50
    fleet.report(new)
    assert (old.share, new.share) == (50, 0)

    for old.in_flight, granted in ((80, 20), (50, 50), (10, 50)):
        fleet.report(old)
        fleet.report(new)
        assert new.share == granted


def test_a_dead_process_block_returns(broker: redis.Redis) -> None:
    fleet = Fleet(broker, 100, 500, 500)
    fleet.settle()
    _, alive = fleet.members
    for ms, share in ((1_000, 50), (1_900, 50), (200, 100)):
        fleet.passes(ms)
        fleet.report(alive)
        assert alive.share == share


def test_when_redis_was_emptied_nobody_gets_more_until_all_had_time_to_report(broker: redis.Redis) -> None:
    fleet = Fleet(broker, 100, 500, 500)
    fleet.settle()
    first, second = fleet.members
    fleet.is_emptied()
    fleet.report(first)
    fleet.passes(1_500)
    fleet.report(first)
    assert first.share == 50
    fleet.report(second)  # as late as it may be
    fleet.passes(1_600)
    fleet.round()
    assert fleet.shares == [50, 50]


def test_when_nobody_could_report_for_long_nobody_gets_more_either(broker: redis.Redis) -> None:
    fleet = Fleet(broker, 100, 500, 500)
    fleet.settle()
    fleet.passes(60_000)
    fleet.round()
    assert fleet.shares == [50, 50]
    fleet.members[1].wanted = 0
    fleet.round()
    assert fleet.shares == [50, 0]


def test_a_new_process_waits_only_when_nobody_is_known(broker: redis.Redis) -> None:
    fleet = Fleet(broker, 100, 500, warm=False)
    fleet.round()
    assert fleet.shares == [0]
    fleet.passes(2_900)
    fleet.round()
    assert fleet.shares == [0]
    fleet.passes(200)
    fleet.round()
    assert fleet.shares == [100]

    fleet.members[0].wanted = 40
    fleet.settle()
    fleet.members.append(Member("late", 30))
    fleet.settle()
    assert fleet.shares == [55, 45]


def test_a_smaller_and_a_larger_cap_are_followed(broker: redis.Redis) -> None:
    fleet = Fleet(broker, 100, 500, 500)
    fleet.settle()
    for fleet.cap in (10, 200):
        fleet.settle()
        assert fleet.shares == [fleet.cap // 2] * 2


def test_with_fewer_slots_than_processes_each_has_its_turn(broker: redis.Redis) -> None:
    fleet = Fleet(broker, 2, 9, 9, 9, 9, 9)
    seconds = [0] * 5
    for _ in range(100):
        fleet.passes(1_000)
        fleet.round()
        assert sum(fleet.shares) <= 2
        seconds = [had + member.share for had, member in zip(seconds, fleet.members, strict=True)]
    assert min(seconds) >= 25
    assert sum(seconds) >= 170  # of 200: a slot that changes hands idles for a second at most


def test_who_waits_for_a_slot_gets_it_before_who_just_had_his_turn(broker: redis.Redis) -> None:
    fleet = Fleet(broker, 1, 9, 9)
    holder, waiting = sorted(fleet.members, key=lambda member: -member.share)
    holder.in_flight = 1
    for _ in range(60):  # one line that takes a minute
        fleet.passes(1_000)
        fleet.report(holder)
        fleet.report(waiting)
    assert fleet.shares == [0, 0]
    holder.in_flight = 0
    for _ in range(3):
        fleet.report(holder)
        fleet.report(waiting)
    assert (holder.share, waiting.share) == (0, 1)


def test_a_report_that_comes_after_a_later_one_changes_nothing(broker: redis.Redis) -> None:
    fleet = Fleet(broker, 100, 500, 500)
    fleet.settle()
    late = fleet.members[0]
    late.round -= 1
    with pytest.raises(redis.ResponseError, match="later round"):
        fleet.report(late)


class Gateway:
    """Stands between the processes and Valkey, so that Redis can go away and come back."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._port = 0

    @property
    def url(self) -> str:
        parts = urlsplit(settings.REDIS_URL)
        return parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{self._port}").geturl()

    async def opens(self) -> None:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def goes_away(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in self._writers:
                writer.close()
            await asyncio.sleep(0.05)  # for the connections to end
            self._writers.clear()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(settings.REDIS_URL)
        far_reader, far_writer = await asyncio.open_connection(parts.hostname, parts.port)
        self._writers += [writer, far_writer]
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


class Process:
    """One SlotBlocks with one upstream."""

    def __init__(self, url: str, upstream: str, wanted: int, cap: int = 100) -> None:
        self.wanted = wanted
        self.in_flight = 0
        self.share = 0
        self.upstream = upstream
        self.blocks = SlotBlocks(url, f"process-{uuid4()}")
        self.blocks.register(upstream, cap, lambda: Demand(self.wanted, self.in_flight), self._granted)
        self.blocks.start()

    def wants(self, slots: int) -> None:
        self.wanted = slots
        self.blocks.hurry(self.upstream)

    def _granted(self, slots: int) -> None:
        self.share = slots


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> float:
    """Seconds it took."""
    started = time.monotonic()
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
    return time.monotonic() - started


@asynccontextmanager
async def processes(*wanted: int, upstream: str = "", cap: int = 100) -> AsyncIterator[tuple[Gateway, list[Process]]]:
    gateway, name = Gateway(), upstream or f"test-{uuid4()}"
    await gateway.opens()
    running = [Process(gateway.url, name, wants, cap) for wants in wanted]
    try:
        yield gateway, running
    finally:
        for process in running:
            await process.blocks.close()
        await gateway.goes_away()


@pytest.fixture
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every time a tenth or less of what it is."""
    monkeypatch.setattr(blocks, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(blocks, "ROUND_SECONDS", 0.5)
    monkeypatch.setattr(blocks, "TTL_SECONDS", 0.5)
    monkeypatch.setattr(blocks, "HURRY_SECONDS", 0.01)


pytestmark = pytest.mark.usefixtures("_fast")


def play(story: Callable[[], Awaitable[None]]) -> None:
    async def told() -> None:
        await story()

    asyncio.run(told())


def test_a_fleet_shares_and_a_clean_close_returns_the_block_at_once() -> None:
    async def story() -> None:
        async with processes(500, 500) as (_, [first, second]):
            await until(lambda: first.share == second.share == 50)
            await first.blocks.close()
            assert first.share == 0
            assert await until(lambda: second.share == 100) < 0.4  # before the block expires

    play(story)


def test_demand_that_rises_is_met_without_waiting_for_the_next_round(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with processes(0, 0) as (_, [first, second]):
            await until(lambda: first.share == second.share == 50)
            monkeypatch.setattr(blocks, "RENEW_SECONDS", 60.0)
            await asyncio.sleep(0.15)
            first.wants(70)
            await until(lambda: first.share == 50 and first.blocks._leases[first.upstream].is_refused)
            second.blocks.hurry(second.upstream)
            await until(lambda: second.share == 15)

    play(story)


def test_hurrying_in_vain_costs_redis_nothing() -> None:
    async def story() -> None:
        async with processes(500) as (_, [only]):
            await until(lambda: only.share == 100)
            before = only.blocks._round
            started = time.monotonic()
            while time.monotonic() - started < 0.5:
                only.blocks.hurry(only.upstream)
                await asyncio.sleep(0.001)
            assert only.blocks._round - before <= 6

    play(story)


def test_without_redis_the_last_share_is_kept_and_it_goes_on_when_redis_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        async with processes(500, 10) as (gateway, [first, second]):
            await until(lambda: (first.share, second.share) == (90, 10))
            await gateway.goes_away()
            second.wants(500)
            await asyncio.sleep(0.8)  # longer than a block is kept for
            assert (first.share, second.share) == (90, 10)

            await gateway.opens()
            await until(lambda: (first.share, second.share) == (50, 50))

    with caplog.at_level("INFO", logger="apps.observability.outage"):
        play(story)
    said: list[Any] = [record.msg for record in caplog.records if record.name == "apps.observability.outage"]
    assert [entry["event"] for entry in said] == ["away", "away", "is back", "is back"]


def test_a_process_that_lost_its_connection_takes_no_more_for_a_while(broker: redis.Redis) -> None:
    async def story() -> None:
        async with processes(40) as (gateway, [first]):
            await until(lambda: first.share == 100)
            async with processes(100, upstream=first.upstream) as (other_gateway, [second]):
                first.wanted = 100
                await until(lambda: first.share == second.share == 50)
                await other_gateway.goes_away()
                await gateway.goes_away()
                broker.hdel(f"slots:{first.upstream}", second.blocks._process_id)  # as a restored Redis may have it
                await gateway.opens()
                await until(lambda: first.blocks._careful_until > 0)
                assert await until(lambda: first.share == 100) > 0.4
                assert second.share == 50  # it never came back

    with structlog.testing.capture_logs():
        play(story)


def test_an_upstream_can_be_resized_and_given_back() -> None:
    async def story() -> None:
        async with processes(500, 500) as (_, [first, second]):
            await until(lambda: first.share == second.share == 50)
            for process in (first, second):
                process.blocks.resize(process.upstream, 20)
            await until(lambda: first.share == second.share == 10)
            first.blocks.unregister(first.upstream)
            await until(lambda: second.share == 20)

    play(story)


def test_close_before_the_first_round_and_without_redis_raises_nothing() -> None:
    async def story() -> None:
        early = SlotBlocks(settings.REDIS_URL, "early")
        early.start()
        await early.close()
        await early.close()
        lost = Process("redis://127.0.0.1:1/0", "lost", 1)
        await asyncio.sleep(0.05)
        await lost.blocks.close()

    with structlog.testing.capture_logs():
        play(story)


def test_it_can_be_closed_at_any_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in those in which redis-py swallows the cancellation."""
    monkeypatch.setattr(blocks, "RENEW_SECONDS", 0.004)
    monkeypatch.setattr(blocks, "HURRY_SECONDS", 0.001)

    async def story() -> None:
        for number in range(100):
            process = Process(settings.REDIS_URL, f"test-{uuid4()}", 500)
            ends_at = time.monotonic() + 0.01 + number / 10_000
            while time.monotonic() < ends_at:
                await asyncio.sleep(0.0005)
            async with asyncio.timeout(5):
                await process.blocks.close()

    play(story)
