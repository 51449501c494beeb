"""How long to wait before asking an upstream again: exponential back-off with full jitter (architecture.md §4)."""

from collections.abc import Awaitable, Callable

from apps.inference.halt import Halt

BASE_SECONDS = 0.5
CAP_SECONDS = 30.0

Jitter = Callable[[], float]
"""A number in [0, 1); `random.random` outside tests."""

Pause = Callable[[Halt, float], Awaitable[bool]]
"""Sleeps that many seconds unless halted; True means halted. `Halt.wait` outside tests."""

_STEPS_TO_CAP = 6  # 0.5 s doubled six times passes 30 s; a line that waits for days must not compute 2 ** 10_000


def back_off(step: int, jitter: Jitter, cap: float = CAP_SECONDS) -> float:
    """Seconds to wait after the `step`-th (from 0) setback in a row, at most `cap`."""
    return jitter() * min(cap, _ceiling(step))


def busy_wait(step: int, retry_after: float | None, jitter: Jitter) -> float:
    """Seconds to wait for a busy upstream: never less than it asked for, at most double that (or one second more).

    The jitter on top matters: without it every line that was told `Retry-After: 30` comes back in the same
    millisecond, and `Retry-After: 0` would make a busy loop.
    """
    if retry_after is None:
        return back_off(step, jitter)
    return retry_after + jitter() * min(_ceiling(step), max(1.0, retry_after))


def _ceiling(step: int) -> float:
    return min(CAP_SECONDS, BASE_SECONDS * 2.0 ** min(step, _STEPS_TO_CAP))
