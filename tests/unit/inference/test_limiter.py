"""AdaptiveLimit: what one answer does, and what thousands do in a simulation of an upstream, without any clock."""

import heapq
import math
import random
from collections.abc import Sequence
from itertools import count, pairwise
from typing import NamedTuple

import pytest

from apps.inference.limiter import AdaptiveLimit

NETWORK = 0.00025  # seconds, one way
LINES = 1_500  # that a process has open: enough for those that back off to be missed by nobody
LATENCIES = (0.02, 0.2, 2.0)


def limit_of(ceiling: int, *, cut_to: int | None = None) -> AdaptiveLimit:
    """`cut_to`: as if congestion had brought it there."""
    limit = AdaptiveLimit(ceiling if cut_to is None else max(cut_to + 1, math.ceil(cut_to / 0.95)))
    if cut_to is not None:
        limit.on_congestion(0.0, -1.0)
        limit.ceiling = ceiling
        assert limit.limit == cut_to
    return limit


def test_it_starts_at_the_ceiling_and_follows_it() -> None:
    limit = AdaptiveLimit(0)
    assert limit.limit == 0
    for limit.ceiling in (25, 100, 3, 0):
        assert limit.limit == limit.ceiling


def test_one_round_trip_of_refusals_takes_five_percent_once() -> None:
    limit = AdaptiveLimit(100)
    for now in (1.0, 1.1, 1.2):
        limit.on_congestion(now, sent_at=0.9)
    assert limit.limit == 95

    limit.on_congestion(1.3, sent_at=1.1)  # sent after the decrease: it is news
    assert limit.limit == 90


def test_it_never_falls_below_one() -> None:
    limit = AdaptiveLimit(5)
    for now in range(20):
        limit.on_congestion(now, sent_at=now - 0.5)
    assert limit.limit == 1


def test_without_slots_there_is_nothing_to_decrease() -> None:
    limit = AdaptiveLimit(64)
    limit.ceiling = 0
    limit.on_congestion(1.0, sent_at=0.5)
    limit.ceiling = 64
    assert limit.limit == 64


def test_it_grows_with_time_and_not_with_answers() -> None:
    fast, slow = limit_of(100, cut_to=40), limit_of(100, cut_to=40)
    for limit, step in ((fast, 0.01), (slow, 0.1)):
        for number in range(round(2.0 / step) + 1):
            limit.on_answer(now := 1.0 + number * step, now - 0.5, limit.limit)
    assert fast.limit == slow.limit == 49  # from 40.85, 4 a second and a little more


def test_after_refusals_only_it_gives_half_back_with_the_answers_and_the_rest_with_time() -> None:
    limit = AdaptiveLimit(64)
    for now in range(200):
        limit.on_congestion(now=float(now), sent_at=now - 0.5)
    assert limit.limit == 1

    sizes = []
    for step in range(200):  # as if no time passed
        limit.on_answer(now=300.0 + step / 1_000, sent_at=299.9 + step / 1_000, in_flight=limit.limit)
        sizes.append(limit.limit)

    assert sizes[:5] == [1, 2, 3, 4, 5]
    assert 32 <= sizes[-1] <= 34


def test_it_does_not_grow_while_lines_are_few_or_while_it_drains() -> None:
    for in_flight in (39, 41):
        limit = limit_of(100, cut_to=40)
        for now in range(1, 60):
            limit.on_answer(now, now - 0.5, in_flight)
        assert limit.limit == 40


def test_time_spent_idle_earns_nothing() -> None:
    limit = limit_of(100, cut_to=40)
    limit.on_answer(1.0, 0.5, 40)
    limit.on_answer(1.1, 0.5, 39)
    limit.on_answer(1_000.0, 999.0, 40)
    assert limit.limit == 40


def test_it_waits_for_news_of_the_new_limit_before_it_grows() -> None:
    limit = limit_of(100, cut_to=40)
    for now in range(1, 60):
        limit.on_answer(now, -2.0, 40)
    assert limit.limit == 40


def test_a_burst_of_answers_adds_what_its_time_has_earned_one_slot_an_answer() -> None:
    limit = limit_of(100, cut_to=40)
    limit.on_answer(1.0, 0.5, 40)
    grown = []
    for _ in range(12):
        limit.on_answer(3.0, 1.0, limit.limit)
        grown.append(limit.limit)
    assert grown == [41, 42, 43, 44, 45, 46, 47, 48, 49, 49, 49, 49]


def test_what_was_earned_at_the_ceiling_is_there_when_the_ceiling_rises() -> None:
    limit = limit_of(20, cut_to=19)
    for tick in range(1, 1_000_000, 100):  # a million seconds: no overflow
        limit.on_answer(tick, tick - 0.5, limit.limit)
    assert limit.limit == 20
    limit.ceiling = 200
    assert limit.limit == 200
    limit.on_congestion(2e6, sent_at=1.9e6)
    assert limit.limit == 190


class Process:
    def __init__(self, limit: AdaptiveLimit) -> None:
        self.limit = limit
        self.ready = LINES
        self.in_flight = 0


class Moment(NamedTuple):
    at: float
    in_flight: tuple[int, ...]  # of each process
    served: int  # by the upstream


class World:
    """Processes that send as fast as their limits allow, to an upstream that answers 429 above `capacity` at once.

    Latencies are log-normal (sigma 0.6) around `latency`, seconds. A refused line stays away for 1 to 2 seconds.
    """

    def __init__(self, limits: Sequence[AdaptiveLimit], *, capacity: int, latency: float, seed: int) -> None:
        self.processes = [Process(limit) for limit in limits]
        self.capacity = capacity
        self.trace: list[Moment] = []
        self.refusals = 0
        self._latency = latency
        self._random = random.Random(seed)
        self._served = 0
        self._numbers = count()
        self._agenda: list[tuple[float, int, str, Process, float]] = []

    def run(self, until: float) -> None:
        """Seconds since the beginning of the world."""
        if not self.trace:
            for process in self.processes:
                self._send(0.0, process)
        while self._agenda[0][0] < until:
            now, _, event, process, sent_at = heapq.heappop(self._agenda)
            getattr(self, f"_{event}")(now, process, sent_at)
            self.trace.append(Moment(now, tuple(each.in_flight for each in self.processes), self._served))

    def _plan(self, at: float, event: str, process: Process, sent_at: float) -> None:
        heapq.heappush(self._agenda, (at, next(self._numbers), event, process, sent_at))

    def _send(self, now: float, process: Process) -> None:
        while process.in_flight < process.limit.limit and process.ready:
            process.in_flight += 1
            process.ready -= 1
            self._plan(now + NETWORK, "arrives", process, now)

    def _arrives(self, now: float, process: Process, sent_at: float) -> None:
        if self._served < self.capacity:
            self._served += 1
            service = self._latency * self._random.lognormvariate(-0.18, 0.6)
            self._plan(now + service, "is_served", process, sent_at)
        else:
            self._plan(now + NETWORK, "is_refused", process, sent_at)

    def _is_served(self, now: float, process: Process, sent_at: float) -> None:
        self._served -= 1
        self._plan(now + NETWORK, "is_answered", process, sent_at)

    def _is_answered(self, now: float, process: Process, sent_at: float) -> None:
        process.limit.on_answer(now, sent_at, process.in_flight)
        process.in_flight -= 1
        self._comes_back(now, process, sent_at)

    def _is_refused(self, now: float, process: Process, sent_at: float) -> None:
        self.refusals += 1
        process.limit.on_congestion(now, sent_at)
        process.in_flight -= 1
        self._send(now, process)
        self._plan(now + 1.0 + self._random.random(), "comes_back", process, sent_at)

    def _comes_back(self, now: float, process: Process, _: float) -> None:
        process.ready += 1
        self._send(now, process)

    def mean(self, start: float, end: float, *, process: int | None = None) -> float:
        """Requests in service at the upstream, or in flight from one process: mean over time."""
        area = sum(
            (after.at - moment.at) * (moment.served if process is None else moment.in_flight[process])
            for moment, after in pairwise(self.trace)
            if start <= moment.at < end
        )
        return area / (end - start)

    def share_within(self, low: int, high: int, start: float, end: float) -> float:
        """The share of time for which the sum of what is in flight is between the two."""
        inside = sum(
            after.at - moment.at
            for moment, after in pairwise(self.trace)
            if start <= moment.at < end and low <= sum(moment.in_flight) <= high
        )
        return inside / (end - start)

    def first(self, low: int, high: int, since: float) -> float:
        """Seconds from `since` until the sum of what is in flight is between the two."""
        return next(
            moment.at - since for moment in self.trace if moment.at >= since and low <= sum(moment.in_flight) <= high
        )


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("latency", LATENCIES)
def test_two_processes_hold_an_upstream_at_its_limit(latency: float, seed: int) -> None:
    world = World([AdaptiveLimit(128), AdaptiveLimit(128)], capacity=64, latency=latency, seed=seed)
    world.run(18.0)

    assert world.share_within(56, 72, 8.0, 17.0) >= 0.99
    # Of each round trip, the network's part is none the upstream could serve in.
    assert world.mean(8.0, 17.0) / 64 >= 0.97 * latency / (latency + 2 * NETWORK)


def test_one_process_alone_does_so_too() -> None:
    world = World([AdaptiveLimit(256)], capacity=64, latency=2.0, seed=1)
    world.run(60.0)

    assert world.share_within(56, 72, 15.0, 58.0) >= 0.99
    assert world.mean(15.0, 58.0) / 64 >= 0.965


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("latency", [0.2, 2.0])
def test_they_follow_within_ten_seconds_when_the_upstreams_limit_moves(latency: float, seed: int) -> None:
    world = World([AdaptiveLimit(128), AdaptiveLimit(128)], capacity=64, latency=latency, seed=seed)
    world.run(20.0)
    world.capacity = 128
    world.run(40.0)
    world.capacity = 64
    world.run(65.0)

    assert world.first(112, 144, since=20.0) <= 10.0
    assert world.share_within(112, 144, 30.0, 39.0) >= 0.99
    assert world.first(56, 72, since=40.0) <= 10.0
    assert world.share_within(56, 72, 50.0, 64.0) >= 0.99


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("latency", LATENCIES)
def test_unequal_processes_converge_to_a_fair_split(latency: float, seed: int) -> None:
    unequal = [limit_of(128, cut_to=60), limit_of(128, cut_to=4)]
    world = World(unequal, capacity=64, latency=latency, seed=seed)
    world.run(36.0)

    assert 0.5 <= world.mean(30.0, 35.0, process=1) / world.mean(30.0, 35.0, process=0) <= 2.0


def test_few_lines_are_refused_for_it() -> None:
    world = World([AdaptiveLimit(128), AdaptiveLimit(128)], capacity=64, latency=2.0, seed=1)
    world.run(10.0)
    settled = world.refusals
    world.run(60.0)

    assert (world.refusals - settled) / 50.0 <= 3.0  # a second, of 32 that are served
