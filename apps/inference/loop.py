"""The event loop of a worker process, in a thread of its own, so that plain threads can run coroutines on it."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple

import uvloop

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class EventLoopThread:
    """A uvloop event loop in a daemon thread, started at first use. Methods may be called from any other thread."""

    def __init__(self, name: str = "inference-loop") -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping = asyncio.Event()

    def run(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run `coro` on the loop, block until it is done, return its result or raise its exception.

        If the caller is interrupted while it waits (KeyboardInterrupt), the coroutine is cancelled.
        """
        if threading.current_thread() is self._thread:
            coro.close()
            raise RuntimeError("run() would wait for itself: await the coroutine instead")
        outcome = asyncio.run_coroutine_threadsafe(coro, self._started())
        try:
            return outcome.result()
        except BaseException:
            outcome.cancel()
            raise

    def call_soon(self, fn: Callable[[*Ts], object], *args: *Ts) -> None:
        """Call `fn(*args)` on the loop's thread, soon, without waiting for it."""
        self._started().call_soon_threadsafe(fn, *args)

    def stop(self) -> None:
        """Cancel what still runs and wait for the thread to end. Used again, it starts a fresh loop."""
        with self._lock:
            if self._loop is None or self._thread is None:
                return
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
            self._loop = self._thread = None

    def _started(self) -> asyncio.AbstractEventLoop:
        if (running := self._loop) is not None:
            return running
        with self._lock:
            if self._loop is None:
                self._loop = self._start()
            return self._loop

    def _start(self) -> asyncio.AbstractEventLoop:
        """Make the loop in the caller's thread, where a failure can be seen. It takes calls before it runs."""
        loop = uvloop.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=_live, args=(loop, self._stopping), name=self._name, daemon=True)
        self._thread.start()
        return loop


def _live(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    # When its coroutine returns, Runner cancels what is left and closes the loop.
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(stopping.wait())


_SHARED = EventLoopThread()


def shared_loop() -> EventLoopThread:
    """The one loop of this process, on which all chunks run their lines. Its thread starts at first use."""
    return _SHARED
