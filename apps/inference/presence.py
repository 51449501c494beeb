"""Says in the log when an upstream goes away and when it is back: batches wait for it in silence otherwise."""

import time

import structlog

from apps.observability.outage import Absence, Clock

log = structlog.get_logger("zerobatch.upstream")


class Presence:
    """Whether one upstream answers, as its client finds; while it does not, a reminder now and then."""

    def __init__(self, name: str, base_url: str, *, clock: Clock = time.monotonic) -> None:
        self._log = log.bind(upstream=name, base_url=base_url)
        self._absence = Absence(clock)

    def away(self, cause: str) -> None:
        """No connection came about."""
        if (seconds := self._absence.goes_on()) is not None:
            self._log.warning("upstream away", cause=cause, seconds=seconds)

    def unclear(self) -> None:
        """Finding out failed, in a way nobody thought of. Call it where the exception was caught."""
        self._log.exception("upstream probe failed")

    def answers(self) -> None:
        """It has answered, whatever it said. Costs nothing while all is well."""
        if (seconds := self._absence.ends()) is not None:
            self._log.info("upstream is back", seconds=seconds)
