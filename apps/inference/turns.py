"""Whose turn it is to use a free slot: the project with the fewest, in it the oldest batch (architecture.md §4)."""

import asyncio
import heapq
from collections import Counter
from collections.abc import Iterator, Sized
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple

Route = tuple[str, ...]
"""The names of the upstreams that serve a model."""


class Turn(NamedTuple):
    """In whose name a run sends. `order` sorts the runs of one project, the first one first: batch age, then chunk."""

    project: str
    order: tuple[Any, ...] = ()


ANYBODY = Turn("")
ONE: Sized = (None,)
"""The backlog of a line that nobody stands behind."""


@dataclass(order=True, slots=True)
class Waiter:
    """One line that queues for a slot; `backlog` are the lines of its run that stand behind it, itself included."""

    order: tuple[Any, ...]
    arrived: int
    slot: "asyncio.Future[Any]" = field(compare=False)
    project: str = field(compare=False)
    model: str | None = field(compare=False, default=None)
    backlog: Sized = field(compare=False, default=ONE)

    @property
    def got_slot(self) -> bool:
        """A slot was handed over; not so if it was halted or cancelled, or no upstream is left for it."""
        slot = self.slot
        return slot.done() and not slot.cancelled() and slot.exception() is None and bool(slot.result())


class Turns:
    """Everybody who waits, by route and project. Costs O(projects that wait) per slot handed out.

    Of two projects that hold equally many slots, the one that was served longer ago is next: with a single slot they
    take turns.
    """

    def __init__(self) -> None:
        self._waiting: dict[tuple[Route, str], list[Waiter]] = {}
        self._served: dict[str, int] = {}
        self._clock = count(1)

    def add(self, route: Route, model: str | None, turn: Turn, backlog: Sized) -> Waiter:
        """Queues up; the waiter's `slot` is resolved by whoever pops it."""
        slot = asyncio.get_running_loop().create_future()
        waiter = Waiter(turn.order, next(self._clock), slot, turn.project, model, backlog)
        self.put_back(route, waiter)
        return waiter

    def put_back(self, route: Route, waiter: Waiter) -> None:
        """Lets a drained waiter queue on, in its old place."""
        heapq.heappush(self._waiting.setdefault((route, waiter.project), []), waiter)

    def pop(self, upstream: str, held: Counter[str]) -> Waiter | None:
        """Takes out whose turn it is among those whom the upstream may serve; `held` is its slots by project."""
        best: tuple[int, int, Waiter] | None = None
        key: tuple[Route, str] | None = None
        for place in list(self._waiting):
            if upstream in place[0] and (first := self._first(place)):
                rank = (held[place[1]], self._served.get(place[1], 0), first)
                if best is None or rank < best:
                    best, key = rank, place
        if best is None or key is None:
            return None
        heapq.heappop(self._waiting[key])
        self._served[key[1]] = next(self._clock)
        return best[2]

    def is_next(self, upstream: str, held: Counter[str], turn: Turn) -> bool:
        """Whether a slot that `turn` holds would come to it again if it were given back, before all who wait.

        As if it had been popped it counts as served, if any of its project wait.
        """
        project, order = turn
        mine, waits = (held[project] - 1, self._served.get(project, 0)), False
        for place in list(self._waiting):
            if upstream not in place[0] or (first := self._first(place)) is None:
                continue
            if place[1] == project:
                waits = True
                if first.order < order:
                    return False
            elif (held[place[1]], self._served.get(place[1], 0)) <= mine:
                return False
        if waits:
            self._served[project] = next(self._clock)
        return True

    def backlog(self, upstream: str) -> int:
        """Lines that the upstream may serve, those behind their run's first included."""
        places = [waiters for (route, _), waiters in self._waiting.items() if upstream in route]
        for waiters in places:
            # Behind an upstream that is away nobody is popped: those who gave up would pile up.
            waiters[:] = [waiter for waiter in waiters if not waiter.slot.done()]
            heapq.heapify(waiters)
        return sum(len(waiter.backlog) for waiters in places for waiter in waiters)

    def drain(self) -> Iterator[Waiter]:
        """Takes everybody out, because the upstreams have changed."""
        waiting, self._waiting = self._waiting, {}
        for waiters in waiting.values():
            yield from (waiter for waiter in waiters if not waiter.slot.done())

    def _first(self, place: tuple[Route, str]) -> Waiter | None:
        """The first who still waits; those who were halted or cancelled meanwhile are dropped."""
        waiters = self._waiting[place]
        while waiters and waiters[0].slot.done():
            heapq.heappop(waiters)
        if not waiters:
            del self._waiting[place]
            self._forget(place[1])
            return None
        return waiters[0]

    def _forget(self, project: str) -> None:
        """Keeps the memory of who was served bounded by who waits."""
        if not any(waiting == project for _, waiting in self._waiting):
            self._served.pop(project, None)
