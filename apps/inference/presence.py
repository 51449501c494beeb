"""Says in the log when an upstream goes away and when it is back: batches wait for it in silence otherwise."""

import time
from collections.abc import Callable

import structlog

log = structlog.get_logger("zerobatch.upstream")

REMIND_SECONDS = 30.0


class Presence:
    """Whether one upstream answers, as its client finds; while it does not, a reminder every REMIND_SECONDS."""

    def __init__(self, name: str, base_url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log.bind(upstream=name, base_url=base_url)
        self._clock = clock
        self._away_since: float | None = None
        self._said_at = 0.0

    def away(self, cause: str) -> None:
        """No connection came about."""
        now = self._clock()
        if self._away_since is None:
            self._away_since = now
        elif now - self._said_at < REMIND_SECONDS:
            return
        self._said_at = now
        self._log.warning("upstream away", cause=cause, seconds=round(now - self._away_since))

    def unclear(self) -> None:
        """Finding out failed, in a way nobody thought of. Call it where the exception was caught."""
        self._log.exception("upstream probe failed")

    def answers(self) -> None:
        """It has answered, whatever it said. Costs nothing while all is well."""
        if self._away_since is not None:
            self._log.info("upstream is back", seconds=round(self._clock() - self._away_since))
            self._away_since = None
