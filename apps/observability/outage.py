"""Says in the log when what is tried again and again begins to fail, and when it works again; not every time."""

import time

import structlog

log = structlog.get_logger(__name__)

REMIND_SECONDS = 30.0


class Outage:
    """The state of one thing that this process needs again and again, such as a connection."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._since: float | None = None
        self._said_at = 0.0

    def failed(self) -> None:
        """For where the exception was caught: logs the first with its traceback, then one in REMIND_SECONDS."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        elif now - self._said_at < REMIND_SECONDS:
            return
        self._said_at = now
        log.warning("away", what=self._what, seconds=round(now - self._since), exc_info=True)  # noqa: LOG014

    def worked(self) -> None:
        """Costs nothing while all is well."""
        if self._since is not None:
            log.info("is back", what=self._what, seconds=round(time.monotonic() - self._since))
            self._since = None
