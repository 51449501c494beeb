"""The signal that ends a run early: lines not yet sent stay unsent, lines in flight finish."""

import asyncio


class Halt:
    """Set once, with a reason such as `cancelled`; thousands of lines wait on it at the cost of one future each.

    Everything here belongs to the event loop's thread. From another thread: `loop.call_soon(halt.set, "cancelled")`.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._watchers: set[asyncio.Future[bool]] = set()

    def set(self, reason: str) -> None:
        """Wake everyone who waits. The first reason wins; later ones are ignored."""
        if self.reason is not None:
            return
        self.reason = reason
        watchers, self._watchers = self._watchers, set()
        for watcher in watchers:
            _resolve(watcher, False)

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
