"""Says in the log when what is tried again and again begins to fail, and when it works again; not every time."""

import time
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

REMIND_SECONDS = 30.0

Clock = Callable[[], float]
"""Seconds; `time.monotonic` outside tests."""


class Absence:
    """Since when something is away, and whether to say so now: at its beginning, every REMIND_SECONDS, at its end."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None
        self._said_at = 0.0

    def goes_on(self) -> int | None:
        """It is away, still or from now on. The seconds so far if that is to be said, else None."""
        now = self._clock()
        if self._since is None:
            self._since = now
        elif now - self._said_at < REMIND_SECONDS:
            return None
        self._said_at = now
        return round(now - self._since)

    def ends(self) -> int | None:
        """It is there. The seconds that it was away, or None if it was not, which costs nothing to find out."""
        since, self._since = self._since, None
        return None if since is None else round(self._clock() - since)


class Outage:
    """The state of one thing that this process needs again and again, such as a connection."""

    def __init__(self, what: str, *, clock: Clock = time.monotonic) -> None:
        self._what = what
        self._absence = Absence(clock)

    def failed(self) -> None:
        """For where the exception was caught: logs the first with its traceback, then one in REMIND_SECONDS."""
        if (seconds := self._absence.goes_on()) is not None:
            log.warning("away", what=self._what, seconds=seconds, exc_info=True)  # noqa: LOG014

    def worked(self) -> None:
        """Costs nothing while all is well."""
        if (seconds := self._absence.ends()) is not None:
            log.info("is back", what=self._what, seconds=seconds)
