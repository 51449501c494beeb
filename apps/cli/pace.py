"""How fast lines get done, and how long the rest takes."""

import time
from collections import deque
from collections.abc import Callable

WINDOW_SECONDS = 30.0


class Pace:
    """The rate over the last half minute, so that it follows what the batch does now."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, done: int) -> None:
        now = self._clock()
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[1][0] <= now - WINDOW_SECONDS:
            self._seen.popleft()

    @property
    def rate(self) -> float:
        """Lines a second; 0 until there is something to compare."""
        if len(self._seen) < 2:
            return 0.0
        (first, before), (last, after) = self._seen[0], self._seen[-1]
        return max(after - before, 0) / (last - first) if last > first else 0.0

    def seconds_left(self, lines: int) -> float | None:
        """None while nothing moves."""
        return lines / self.rate if self.rate else None
