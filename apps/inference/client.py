"""Asks an upstream about a line until it answers, the attempts end, or the run is halted (architecture.md §4)."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from apps.inference.answers import Busy, Retry, Verdict, classify
from apps.inference.breaker import Breaker, Sleep
from apps.inference.errors import NoAnswer, TransportError, UpstreamAway
from apps.inference.halt import Halt
from apps.inference.line import Line
from apps.inference.presence import Presence
from apps.inference.results import Completed, Failed, LineRequest, Result, Unsent
from apps.inference.retry import Jitter
from apps.inference.slots import Slots
from apps.inference.standing import Congestion, Standing
from apps.inference.transport import Transport
from apps.inference.upstream import Upstream

__all__ = ["Client", "Completed", "Failed", "LineRequest", "Result", "Standing", "Unsent"]

PROBE_PATH = "/v1/models"

Pause = Callable[[Halt, float], Awaitable[bool]]
"""Sleeps that many seconds unless halted; True means halted. `Halt.wait` outside tests."""


class Client:
    """One upstream as seen from one event loop. Every method must be called on that loop's thread.

    Outside tests `jitter`, `pause`, `sleep` and `clock` (seconds) are what they are by default.
    """

    def __init__(
        self,
        upstream: Upstream,
        transport: Transport,
        *,
        slots: Slots | None = None,
        jitter: Jitter = random.random,
        pause: Pause = Halt.wait,
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.upstream = upstream
        self.slots = slots or Slots(upstream.max_in_flight)
        self._transport = transport
        self._jitter = jitter
        self._pause = pause
        self._headers = _constant_headers(upstream)
        self._congestion = Congestion(clock=clock)
        probe = partial(transport.probe, upstream.url(PROBE_PATH), self._headers)
        presence = Presence(upstream.name, upstream.base_url, clock=clock)
        self._breaker = Breaker(self.slots, probe, presence, jitter=jitter, sleep=sleep)

    @property
    def standing(self) -> Standing | None:
        """Why nothing moves at this upstream right now; None if nothing is in the way. From any thread."""
        if self._breaker.is_open:
            return Standing.UPSTREAM_PAUSED
        return Standing.UPSTREAM_BUSY if self._congestion.lasts else None

    async def acquire(self, halt: Halt) -> bool:
        """The one door to the upstream, which every line passes before it is sent, at first and after each back-off.

        Waits while the run is stale, while the upstream is paused, and for a slot. True: the caller holds a slot and
        may send. False: halted, nothing is held.
        """
        while (halt.is_clear or await halt.may_send()) and await self.slots.acquire(halt):
            if halt.is_clear:
                return True
            # It waited for the slot, perhaps in a frozen process: a run that can use the slot shall have it.
            self.slots.release()
        return False

    def complete(self, request: LineRequest, halt: Halt, *, slot_held: bool = False) -> Coroutine[Any, Any, Result]:
        """Run one line to its end; await it, or make it a task.

        With `slot_held` the caller has acquired a slot, and hands it over: once the coroutine has begun, the client
        gives it back however the line ends, cancellation included. (A task cancelled before its first step never
        begins; `start` covers that too.) While it backs off, the line holds no slot and queues for a new one after.

        `Completed` and `Failed` are final. `Unsent` comes only after `halt`: at once if the line was queueing or
        backing off, after the answer in flight if that answer was not final. Raises nothing of its own.
        """
        return self._run(Line(request, halt, holds_slot=slot_held))

    def start(self, request: LineRequest, halt: Halt) -> asyncio.Task[Result]:
        """Run a line as a task, for a caller who has just acquired a slot: from here on the client owes it back.

            while lines and await client.acquire(halt):
                tasks.add(client.start(lines.pop(), halt))

        So tasks exist only for lines that were sent at least once, not for all those that wait.
        """
        line = Line(request, halt, holds_slot=True)
        task = asyncio.create_task(self._run(line))
        task.add_done_callback(lambda _: self._give_back(line))
        return task

    async def _run(self, line: Line) -> Result:
        try:
            while await self._hold_slot(line):
                verdict = await self._ask(line.request)
                self._give_back(line)
                if not isinstance(verdict, Retry | Busy):
                    return verdict
                if failed := line.note(verdict, self.upstream.max_attempts):
                    return failed
                if await self._pause(line.halt, line.seconds_to_wait(verdict, self._jitter)):
                    break
            return line.unsent()
        finally:
            self._give_back(line)

    async def _hold_slot(self, line: Line) -> bool:
        """False when halted, and nothing is held."""
        if not line.halt.is_clear:
            self._give_back(line)  # the caller passed the door with it, but that was a turn of the loop ago
        if not line.holds_slot:
            line.holds_slot = await self.acquire(line.halt)
        return line.holds_slot

    def _give_back(self, line: Line) -> None:
        if line.holds_slot:
            line.holds_slot = False
            self.slots.release()

    async def _ask(self, request: LineRequest) -> Verdict:
        headers = {**self._headers, "x-request-id": request.id}
        try:
            answer = await self._transport.send(self.upstream.url(request.path), headers, request.body)
        except TransportError as error:
            return self._unanswered(error)
        self._breaker.answers()
        verdict = classify(answer)
        if isinstance(verdict, Busy):
            self._congestion.busy()
        else:
            self._congestion.over()
        return verdict

    def _unanswered(self, error: TransportError) -> Verdict:
        self._congestion.over()
        if isinstance(error, UpstreamAway):
            self._breaker.away(str(error))
            return Busy(str(error))
        return Retry(str(error), code="timeout" if isinstance(error, NoAnswer) else "internal_error")


def _constant_headers(upstream: Upstream) -> Mapping[str, str]:
    headers = {"content-type": "application/json", "accept": "application/json"}
    if upstream.api_key:
        headers["authorization"] = f"Bearer {upstream.api_key.strip()}"  # a secret read from a file ends in a newline
    return headers
