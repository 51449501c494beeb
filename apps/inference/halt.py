"""The signal that ends a run early or holds it up: lines not yet sent stay unsent, lines in flight finish."""

import asyncio
import math
from collections.abc import Callable

from apps.inference.clock import lease_clock


class Halt:
    """Set once, with a reason such as `cancelled`; thousands of lines wait on it at the cost of one future each.

    Short of that a run can be stale: the time is past `valid_until`, in seconds of `clock`. That is when the claim
    under which the lines are sent runs out unless it is renewed. If it could not be renewed in time (whoever grants it
    is away, or this process was frozen and has just woken up), others may be sending the same lines by now. So no
    further line goes out, but results and lines in flight are kept, and `prolong` lets the run go on.

    Everything here belongs to the event loop's thread. From another thread: `loop.call_soon(halt.set, "cancelled")`.
    """

    def __init__(self, *, valid_until: float = math.inf, clock: Callable[[], float] = lease_clock) -> None:
        self.reason: str | None = None
        self.valid_until = valid_until
        self._clock = clock
        self._watchers: set[asyncio.Future[bool]] = set()
        self._news = asyncio.Event()

    @property
    def is_clear(self) -> bool:
        """Neither halted nor stale: a line may go out now."""
        return self.reason is None and self._clock() < self.valid_until

    def set(self, reason: str) -> None:
        """Wake everyone who waits. The first reason wins; later ones are ignored."""
        if self.reason is not None:
            return
        self.reason = reason
        self._news.set()
        watchers, self._watchers = self._watchers, set()
        for watcher in watchers:
            _resolve(watcher, False)

    def prolong(self, until: float) -> None:
        """The claim holds until then, in seconds of `clock`: wake those who wait in `may_send`."""
        self.valid_until = until
        self._news.set()  # for those who wait now
        self._news.clear()  # not for those who come when it is stale again

    async def may_send(self) -> bool:
        """Wait for as long as the run is stale. True: it is valid, a line may go out. False: it is halted."""
        while self.reason is None and not self.is_clear:
            await self._news.wait()
        return self.reason is None

    async def wait(self, timeout: float | None = None) -> bool:
        """Sleep for `timeout` seconds (None: for ever). True as soon as the halt is set, False when the time is up."""
        if self.reason is not None:
            return True
        loop = asyncio.get_running_loop()
        slept: asyncio.Future[bool] = loop.create_future()
        timer = None if timeout is None else loop.call_later(timeout, _resolve, slept, True)
        self.watch(slept)
        try:
            await slept
        finally:
            self.unwatch(slept)
            if timer is not None:
                timer.cancel()
        return self.reason is not None

    def watch(self, future: asyncio.Future[bool]) -> None:
        """Resolve `future` to False when the halt is set (at once if it is), unless it is done by then."""
        if self.reason is None:
            self._watchers.add(future)
        else:
            _resolve(future, False)

    def unwatch(self, future: asyncio.Future[bool]) -> None:
        """Forget `future`. Whoever watched must call this, or a long-lived halt keeps every future it ever saw."""
        self._watchers.discard(future)


def _resolve(future: asyncio.Future[bool], outcome: bool) -> None:
    if not future.done():
        future.set_result(outcome)
