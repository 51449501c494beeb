"""Notices when the upstreams change, so that an edit in the admin reaches every process without a restart."""

import structlog
from django.db import Error

from apps.inference.upstream import Upstream
from apps.observability.outage import Outage
from apps.upstreams import catalogue

log = structlog.get_logger(__name__)


class Watch:
    """What one process knows of the upstreams. Not thread-safe."""

    def __init__(self) -> None:
        self._last: list[Upstream] | None = None
        self._outage = Outage("upstreams in Postgres")

    def look(self) -> list[Upstream] | None:
        """All upstreams if they differ from what the last look found, else None; the first look finds them new.

        Costs one query for a handful of rows. None also while Postgres is away: what was found last goes on. Before
        the first list has come there is nothing to go on with, and the caller waits for a later look.
        """
        try:
            found = catalogue.load()
        except Error:
            self._outage.failed()
            return None
        self._outage.worked()
        if found == self._last:
            return None
        self._last = found
        log.info("upstreams", names=[upstream.name for upstream in found])
        return found
