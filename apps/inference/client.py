"""Asks an upstream about a line until it answers, the attempts end, or the run is halted (architecture.md §4)."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from apps.inference.answers import Busy, Retry, Verdict, classify
from apps.inference.errors import BrokenAnswer, NoAnswer, UpstreamAway
from apps.inference.halt import Halt
from apps.inference.line import Line
from apps.inference.presence import Presence
from apps.inference.results import Completed, Failed, LineRequest, Result, Unsent
from apps.inference.retry import Jitter
from apps.inference.slots import Slots
from apps.inference.transport import Transport
from apps.inference.upstream import Upstream

__all__ = ["Client", "Completed", "Failed", "LineRequest", "Result", "Unsent"]

Pause = Callable[[Halt, float], Awaitable[bool]]
"""Sleeps that many seconds unless halted; True means halted. `Halt.wait` outside tests."""


class Client:
    """One upstream as seen from one event loop. Every method must be called on that loop's thread."""

    def __init__(
        self,
        upstream: Upstream,
        transport: Transport,
        *,
        slots: Slots | None = None,
        jitter: Jitter = random.random,
        pause: Pause = Halt.wait,
    ) -> None:
        self.upstream = upstream
        self.slots = slots or Slots(upstream.max_in_flight)
        self._transport = transport
        self._jitter = jitter
        self._pause = pause
        self._headers = _constant_headers(upstream)
        self._presence = Presence(upstream.name, upstream.base_url)

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

            while lines and await client.slots.acquire(halt):
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
        """False when halted; a slot that the caller brought along may then still be held."""
        if not line.holds_slot:
            line.holds_slot = await self.slots.acquire(line.halt)
        return line.halt.reason is None

    def _give_back(self, line: Line) -> None:
        if line.holds_slot:
            line.holds_slot = False
            self.slots.release()

    async def _ask(self, request: LineRequest) -> Verdict:
        headers = {**self._headers, "x-request-id": request.id}
        try:
            answer = await self._transport.send(self.upstream.url(request.path), headers, request.body)
        except UpstreamAway as error:
            self._presence.away(str(error))
            return Busy(str(error))
        except NoAnswer as error:
            return Retry(str(error), code="timeout")
        except BrokenAnswer as error:
            return Retry(str(error))
        self._presence.answers()
        return classify(answer)


def _constant_headers(upstream: Upstream) -> Mapping[str, str]:
    headers = {"content-type": "application/json", "accept": "application/json"}
    if upstream.api_key:
        headers["authorization"] = f"Bearer {upstream.api_key.strip()}"  # a secret read from a file ends in a newline
    return headers
