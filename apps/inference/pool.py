"""All upstreams of a process: who serves a model, who has room, and whose turn it is (architecture.md §4)."""

import asyncio
from collections.abc import Callable, Iterable, Sized
from functools import lru_cache, partial
from typing import NamedTuple, Protocol

from apps.inference.blocks import Demand
from apps.inference.endpoint import Endpoint
from apps.inference.halt import Halt
from apps.inference.standing import Standing
from apps.inference.turns import ANYBODY, ONE, Route, Turn, Turns, Waiter
from apps.inference.upstream import Upstream

MOST_ROUTES = 1_000
LONGEST_MODEL = 256
"""Longer names are a client's fancy: their routes are not worth remembering."""
SHOWN_CHARACTERS = 200

MakeEndpoint = Callable[[Upstream, Callable[[Endpoint], object]], Endpoint]
"""Makes the endpoint of an upstream, with what it shall call when it has room."""


class Shares(Protocol):
    """Says how much of each upstream's `max_in_flight` this process may use; SlotBlocks, where there is a fleet."""

    def register(self, name: str, cap: int, demand: Callable[[], Demand], grant: Callable[[int], None]) -> None: ...

    def resize(self, name: str, cap: int) -> None: ...

    def unregister(self, name: str) -> None: ...

    def hurry(self, name: str) -> None:
        """More is wanted than was granted."""
        ...


class NoUpstream(Exception):
    """No upstream serves the model: the line's fault, or an operator's. `str()` is fit for the line's error message."""

    def __init__(self, model: str | None) -> None:
        shown = "a line that names no model" if model is None else f"the model {_shown(model)!r}"
        super().__init__(f"No upstream serves {shown}")


class Slot(NamedTuple):
    """The right to send one request to `endpoint`; whoever holds it owes one `Pool.release`."""

    endpoint: Endpoint
    project: str


class Pool:
    """Hands out slots at upstreams, fairly between projects. Everything here belongs to the event loop's thread.

    A free slot never stands beside somebody who could use it: whenever one becomes free, or an upstream gets room, it
    goes to whose turn it is. So who finds nobody waiting takes a slot at once, at the cost of a comparison or two.
    """

    def __init__(self, make_endpoint: MakeEndpoint, shares: Shares | None = None) -> None:
        self._make_endpoint = make_endpoint
        self._shares = shares
        self._endpoints: dict[str, Endpoint] = {}
        self._turns = Turns()
        self._route = lru_cache(MOST_ROUTES)(self._find_route)

    @property
    def endpoints(self) -> list[Endpoint]:
        return list(self._endpoints.values())

    def configure(self, upstreams: Iterable[Upstream]) -> None:
        """These are the upstreams from now on. Lines in flight finish where they are; those that wait find new ones."""
        before, self._endpoints = self._endpoints, {}
        for upstream in upstreams:
            old = before.get(upstream.name)
            if old is not None and old.adopt(upstream):
                self._endpoints[upstream.name] = before.pop(upstream.name)
                self._resize(old)
                continue
            if old is not None:
                self._retire(before.pop(upstream.name))
            self._add(upstream)
        self._route.cache_clear()
        for endpoint in before.values():
            self._retire(endpoint)
        for waiter in list(self._turns.drain()):
            self._queue_again(waiter)
        for endpoint in self.endpoints:
            self.serve(endpoint)

    def route(self, model: str | None) -> Route:
        """The upstreams that serve the model. Raises NoUpstream."""
        if found := self._find(model):
            return found
        raise NoUpstream(model)

    def _find(self, model: str | None) -> Route:
        return self._route(model) if model is None or len(model) <= LONGEST_MODEL else self._find_route(model)

    def standing(self, model: str | None) -> Standing | None:
        """Why no line for this model goes out just now, or None if nothing is in the way. From any thread."""
        endpoints = [self._endpoints.get(name) for name in self._find(model)]
        standings = [endpoint.standing for endpoint in endpoints if endpoint is not None]
        if not standings or None in standings:
            return None
        return Standing.UPSTREAM_BUSY if Standing.UPSTREAM_BUSY in standings else Standing.UPSTREAM_PAUSED

    async def acquire(
        self, halt: Halt, model: str | None = None, turn: Turn = ANYBODY, backlog: Sized = ONE
    ) -> Slot | None:
        """The one door to the upstreams, which every line passes before it is sent, at first and after each back-off.

        Waits while the run is stale, while no upstream that serves the model has room, and for its turn. None: halted,
        nothing is held. `backlog` are the lines of the run that wait for the same. Raises NoUpstream.
        """
        while halt.is_clear or await halt.may_send():
            slot = self._take(self.route(model), turn.project)
            if slot is None:
                slot = await self._queue_up(halt, model, turn, backlog)
            if slot is None or halt.is_clear:
                return slot
            # It waited for the slot, perhaps in a frozen process: a run that can use the slot shall have it.
            self.release(slot)
        return None

    def keep(self, slot: Slot, model: str | None, turn: Turn) -> bool:
        """Whether its holder may send the next line with the same slot: released, it would come to the holder again.

        False: it owes the `release` as before. Room that an answer has made goes to who waits in either case.
        """
        endpoint = slot.endpoint
        if not (
            endpoint.is_within_limit
            and endpoint.name in self._find(model)
            and self._turns.is_next(endpoint.name, endpoint.held, turn)
        ):
            return False
        self.serve(endpoint)
        return True

    def release(self, slot: Slot) -> None:
        """Gives a slot back, and on to whose turn it is."""
        slot.endpoint.give_back(slot.project)
        self.serve(slot.endpoint)

    def serve(self, endpoint: Endpoint) -> None:
        """Hands out what room the endpoint has."""
        while endpoint.has_room and (waiter := self._turns.pop(endpoint.name, endpoint.held)):
            endpoint.take(waiter.project)
            waiter.slot.set_result(Slot(endpoint, waiter.project))

    def _add(self, upstream: Upstream) -> None:
        endpoint = self._endpoints[upstream.name] = self._make_endpoint(upstream, self.serve)
        if self._shares is not None:
            endpoint.set_share(0)
            demand = partial(self._demand, endpoint)
            self._shares.register(upstream.name, upstream.max_in_flight, demand, endpoint.set_share)

    def _resize(self, endpoint: Endpoint) -> None:
        cap = endpoint.upstream.max_in_flight
        if self._shares is None:
            endpoint.set_share(cap)
        else:
            self._shares.resize(endpoint.name, cap)

    def _retire(self, endpoint: Endpoint) -> None:
        if self._shares is not None:
            self._shares.unregister(endpoint.name)
        endpoint.retire()

    def _demand(self, endpoint: Endpoint) -> Demand:
        return Demand(endpoint.in_flight + self._turns.backlog(endpoint.name), endpoint.in_flight)

    def _take(self, route: Route, project: str) -> Slot | None:
        """A slot where the fewest requests are in flight, if there is one free."""
        free = [endpoint for name in route if (endpoint := self._endpoints[name]).has_room]
        if not free:
            return None
        endpoint = free[0] if len(free) == 1 else min(free, key=lambda each: each.in_flight)
        endpoint.take(project)
        return Slot(endpoint, project)

    async def _queue_up(self, halt: Halt, model: str | None, turn: Turn, backlog: Sized) -> Slot | None:
        route = self.route(model)
        waiter = self._turns.add(route, model, turn, backlog)
        self._ask_for_more(route)
        halt.watch(waiter.slot)
        try:
            return (await waiter.slot) or None  # the halt resolves it to False
        except asyncio.CancelledError:
            # The slot may have been handed over in the same loop turn in which the waiter was cancelled.
            if waiter.got_slot:
                self.release(waiter.slot.result())
            raise
        finally:
            halt.unwatch(waiter.slot)

    def _ask_for_more(self, route: Route) -> None:
        if self._shares is not None:
            for name in route:
                if self._endpoints[name].wants_more:
                    self._shares.hurry(name)

    def _queue_again(self, waiter: Waiter) -> None:
        try:
            self._turns.put_back(self.route(waiter.model), waiter)
        except NoUpstream as error:
            waiter.slot.set_exception(error)

    def _find_route(self, model: str | None) -> Route:
        return tuple(endpoint.name for endpoint in self.endpoints if endpoint.upstream.serves(model))


def _shown(model: str) -> str:
    """As a message quotes it: a client's model may be a megabyte long."""
    return model if len(model) <= SHOWN_CHARACTERS else model[:SHOWN_CHARACTERS] + "…"
