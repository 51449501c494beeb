"""Why nothing moves at an upstream, in a word for operators."""

import time
from collections.abc import Callable
from enum import StrEnum

BUSY_SECONDS = 2.0


class Standing(StrEnum):
    """What holds up every line of an upstream."""

    UPSTREAM_PAUSED = "upstream_paused"  # it is away, and probed until it is back
    UPSTREAM_BUSY = "upstream_busy"  # it turns every line away with 429 or 503


class Congestion:
    """Whether all that was heard of an upstream for the last BUSY_SECONDS is that it is busy.

    Until it is heard again, it stands as it was last heard. `lasts` may be read from any thread.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None

    @property
    def lasts(self) -> bool:
        since = self._since  # once, since the loop's thread may change it meanwhile
        return since is not None and self._clock() - since >= BUSY_SECONDS

    def busy(self) -> None:
        """A line was turned away with 429 or 503."""
        if self._since is None:
            self._since = self._clock()

    def over(self) -> None:
        """Anything else happened to a line."""
        self._since = None
