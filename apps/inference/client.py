"""Asks upstreams about lines until one answers, the attempts end, or the run is halted (architecture.md §4)."""

import asyncio
import random

from apps.inference.halt import Halt
from apps.inference.pool import Pool, Slot
from apps.inference.results import Completed, Failed, LineRequest, Result, Unsent
from apps.inference.retry import Jitter, Pause
from apps.inference.sender import Lines, Sender, no_upstream
from apps.inference.turns import ANYBODY, Turn

__all__ = ["Client", "Completed", "Failed", "LineRequest", "Lines", "Result", "Unsent", "no_upstream"]


class Client:
    """Runs lines over the upstreams of a pool. Every method must be called on the pool's event loop.

    Outside tests `jitter` and `pause` are what they are by default.
    """

    def __init__(self, pool: Pool, *, jitter: Jitter = random.random, pause: Pause = Halt.wait) -> None:
        self.pool = pool
        self._jitter = jitter
        self._pause = pause

    async def complete(
        self, request: LineRequest, halt: Halt, *, turn: Turn = ANYBODY, slot: Slot | None = None
    ) -> Result:
        """Run one line to its end.

        With `slot` the caller has acquired one, and hands it over: once the coroutine has begun, it is given back
        however the line ends, cancellation included. While it backs off, the line holds no slot and queues for a new
        one after, in `turn`.

        `Completed` and `Failed` are final. `Unsent` comes only after `halt`: at once if the line was queueing or
        backing off, after the answer in flight if that answer was not final. Raises nothing of its own.
        """
        sender = self._sender(halt, turn, slot)
        try:
            return await sender.complete(request)
        finally:
            sender.give_back()

    def start(self, lines: Lines, halt: Halt, slot: Slot, *, turn: Turn = ANYBODY) -> asyncio.Task[None] | None:
        """Run lines as a task, for a caller who has just acquired a slot: from here on the client owes it back.

            while lines and (slot := await client.pool.acquire(halt)):
                tasks.add(client.start(lines, halt, slot))

        It takes the first line now, and more for as long as the slot may be kept: there are as many tasks as lines
        under way, not one for each that waits. None if there is no line any more.
        """
        sender = self._sender(halt, turn, slot)
        if (first := lines.take()) is None:
            sender.give_back()
            return None
        task = asyncio.create_task(sender.send(first, lines))
        task.add_done_callback(lambda _: sender.give_back())  # also of a task that was cancelled before its first step
        return task

    def _sender(self, halt: Halt, turn: Turn, slot: Slot | None) -> Sender:
        return Sender(self.pool, halt, turn, slot, jitter=self._jitter, pause=self._pause)
