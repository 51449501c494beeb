"""Asks upstreams about a line until one answers, the attempts end, or the run is halted (architecture.md §4)."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from apps.inference.answers import Busy, Retry
from apps.inference.halt import Halt
from apps.inference.line import Line
from apps.inference.pool import NoUpstream, Pool, Slot
from apps.inference.results import Completed, Failed, LineRequest, Result, Unsent
from apps.inference.retry import Jitter
from apps.inference.turns import ANYBODY, Turn

__all__ = ["Client", "Completed", "Failed", "LineRequest", "Result", "Unsent"]

Pause = Callable[[Halt, float], Awaitable[bool]]
"""Sleeps that many seconds unless halted; True means halted. `Halt.wait` outside tests."""


class Client:
    """Runs lines over the upstreams of a pool. Every method must be called on the pool's event loop.

    Outside tests `jitter` and `pause` are what they are by default.
    """

    def __init__(self, pool: Pool, *, jitter: Jitter = random.random, pause: Pause = Halt.wait) -> None:
        self.pool = pool
        self._jitter = jitter
        self._pause = pause

    def complete(
        self, request: LineRequest, halt: Halt, *, turn: Turn = ANYBODY, slot: Slot | None = None
    ) -> Coroutine[Any, Any, Result]:
        """Run one line to its end; await it, or make it a task.

        With `slot` the caller has acquired one, and hands it over: once the coroutine has begun, the client gives it
        back however the line ends, cancellation included. (A task cancelled before its first step never begins;
        `start` covers that too.) While it backs off, the line holds no slot and queues for a new one after, in `turn`.

        `Completed` and `Failed` are final. `Unsent` comes only after `halt`: at once if the line was queueing or
        backing off, after the answer in flight if that answer was not final. Raises nothing of its own.
        """
        return self._run(Line(request, halt, turn, slot))

    def start(self, request: LineRequest, halt: Halt, slot: Slot, *, turn: Turn = ANYBODY) -> asyncio.Task[Result]:
        """Run a line as a task, for a caller who has just acquired a slot: from here on the client owes it back.

            while lines and (slot := await client.pool.acquire(halt)):
                tasks.add(client.start(lines.pop(), halt, slot))

        So tasks exist only for lines that were sent at least once, not for all those that wait.
        """
        line = Line(request, halt, turn, slot)
        task = asyncio.create_task(self._run(line))
        task.add_done_callback(lambda _: self._give_back(line))
        return task

    async def _run(self, line: Line) -> Result:
        try:
            while slot := await self._hold_slot(line):
                verdict = await slot.endpoint.ask(line.request)
                self._give_back(line)
                if not isinstance(verdict, Retry | Busy):
                    return verdict
                if failed := line.note(verdict, slot.endpoint.upstream.max_attempts):
                    return failed
                if await self._pause(line.halt, line.seconds_to_wait(verdict, self._jitter)):
                    break
            return line.unsent()
        except NoUpstream as error:
            return no_upstream(error)
        finally:
            self._give_back(line)

    async def _hold_slot(self, line: Line) -> Slot | None:
        """None when halted, and nothing is held. Raises NoUpstream."""
        if not line.halt.is_clear:
            self._give_back(line)  # the caller passed the door with it, but that was a turn of the loop ago
        if line.slot is None:
            line.slot = await self.pool.acquire(line.halt, line.request.model, line.turn)
        return line.slot

    def _give_back(self, line: Line) -> None:
        slot, line.slot = line.slot, None
        if slot is not None:
            self.pool.release(slot)


def no_upstream(error: NoUpstream) -> Failed:
    """The result of a line whose model nobody serves (wire.md §8)."""
    return Failed("not_found_error", str(error), "model")
