"""How many requests may be in flight at one upstream from this process, handed out first come, first served."""

import asyncio
from collections import deque

from apps.inference.halt import Halt


class Slots:
    """A counting semaphore for one event loop: O(1), FIFO, and no future is made while a slot is free.

    A slot given back while somebody waits passes straight to the longest waiter, so latecomers cannot overtake. While
    paused no slot is handed out: who waits keeps the place in the queue, who holds one gives it back as usual.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"an upstream needs at least one slot, not {limit}")
        self.limit = limit
        self._in_flight = 0
        self._paused = False
        self._queue: deque[asyncio.Future[bool]] = deque()

    @property
    def in_flight(self) -> int:
        """Slots held now."""
        return self._in_flight

    async def acquire(self, halt: Halt) -> bool:
        """True: the caller holds a slot and owes one `release()`. False: halted, nothing is held."""
        if halt.reason is not None:
            return False
        if self._in_flight < self.limit and not self._paused:
            self._in_flight += 1
            return True
        return await self._queue_up(halt)

    def release(self) -> None:
        """Give one slot back."""
        if self._in_flight < 1:
            raise RuntimeError("a slot was given back that nobody held")
        self._in_flight -= 1
        self._serve_queue()

    def pause(self) -> None:
        """Hand out no slot from now on. Nothing happens if it is paused already."""
        self._paused = True

    def resume(self) -> None:
        """Hand out slots again, first to those who queue. Nothing happens if it is not paused."""
        self._paused = False
        self._serve_queue()

    def _serve_queue(self) -> None:
        while self._queue and self._in_flight < self.limit and not self._paused:
            turn = self._queue.popleft()
            if not turn.done():  # else halted or cancelled while it queued
                turn.set_result(True)
                self._in_flight += 1

    async def _queue_up(self, halt: Halt) -> bool:
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        halt.watch(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            # The slot may have been handed over in the same loop turn in which the waiter was cancelled.
            if turn.done() and not turn.cancelled() and turn.result():
                self.release()
            raise
        finally:
            halt.unwatch(turn)
