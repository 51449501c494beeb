"""Who does how much of the work, and what is stuck: what the dashboard shows beside the figures of figures.py.

Each is one look at an index, or bounded, so that it costs the same with a million rows. All times are Postgres' own.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Count
from django.db.models.functions import Now

from apps.batches import workers
from apps.batches.models import Batch, Chunk, Worker
from apps.batches.outcomes import COMPLETED, MINUTES
from apps.batches.states import UNFINISHED, BatchStatus

FINALIZING_SLOW = timedelta(minutes=5)
OVERDUE_SLOW = timedelta(minutes=2)
"""Lines in flight may finish after the deadline; so long it may well take."""


def now() -> datetime:
    """Postgres' clock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        found: datetime = cursor.fetchone()[0]
        return found


class Share(NamedTuple):
    """What one project has of the fleet, beside what it asks for."""

    project_id: str
    name: str
    open_batches: int
    open_lines: int
    running_chunks: int


def shares() -> list[Share]:
    """Projects with open batches, who runs most first; `open_lines` are those of all their open batches."""
    with connection.cursor() as cursor:
        cursor.execute(SHARES)
        return [Share(str(row[0]), *row[1:]) for row in cursor.fetchall()]


SHARES = """
WITH open AS (
    SELECT project_id, count(*) AS batches, sum(total) AS lines
      FROM batches_batch WHERE status IN ('in_progress', 'cancelling') GROUP BY project_id
), running AS (
    SELECT batch.project_id, count(*) AS chunks
      FROM batches_chunk AS chunk JOIN batches_batch AS batch ON batch.id = chunk.batch_id
     WHERE chunk.state = 'running' GROUP BY batch.project_id
)
SELECT project.id, project.name, open.batches, open.lines, coalesce(running.chunks, 0)
  FROM open JOIN projects_project AS project ON project.id = open.project_id
       LEFT JOIN running ON running.project_id = open.project_id
 ORDER BY coalesce(running.chunks, 0) DESC, open.lines DESC
 LIMIT 20
"""


def overdue_batches() -> Any:
    """Batches that should have ended a while ago."""
    return Batch.objects.filter(status__in=sorted(UNFINISHED), expires_at__lt=Now() - OVERDUE_SLOW)


def slow_assemblies() -> Any:
    """Batches whose files have been joined for long, or that nobody joins."""
    return Batch.objects.filter(status=BatchStatus.FINALIZING, finalizing_at__lt=Now() - FINALIZING_SLOW)


def chunks_by_state(batch: Batch) -> dict[str, int]:
    """State → chunks of one batch."""
    return dict(Chunk.objects.filter(batch=batch).values_list("state").annotate(Count("pk")).order_by())


class UpstreamSeen(NamedTuple):
    """What the workers seen of late say of one upstream, together; the worst that any of them says of it."""

    name: str
    standing: str = ""
    trouble: str = ""
    in_flight: int = 0
    limit: int = 0
    share: int = 0
    held: Counter[str] = Counter()

    @property
    def is_throttled(self) -> bool:
        """It is given less than it might be, because of what it answered."""
        return bool(self.trouble) and self.limit < self.share

    @property
    def because(self) -> str:
        """Its last failure, to be put behind how it is found; nothing if there was none."""
        return f" ({self.trouble})" if self.trouble else ""


class Fleet(NamedTuple):
    """What the workers' last heartbeats say together."""

    workers: list[Worker]
    alive: int
    upstreams: dict[str, UpstreamSeen]
    by_minute: list[Counter[str]]

    @property
    def lines_a_minute(self) -> int:
        """Lines that ended in the last minute."""
        return self.by_minute[0].total()

    @property
    def failures(self) -> list[tuple[str, int]]:
        """Code → lines of the last MINUTES minutes, the commonest first."""
        counts: Counter[str] = sum(self.by_minute, Counter())
        return [(code, count) for code, count in counts.most_common() if code != COMPLETED]


MOST_WORKERS = 50


def fleet() -> Fleet:
    """Reads the workers' rows: one query. Those silent for long count for what they did, not for what they hold."""
    seen = list(Worker.objects.order_by("-seen_at")[:MOST_WORKERS])
    at = now()
    alive = [worker for worker in seen if at - worker.seen_at < workers.SEEN_WITHIN]
    by_minute: list[Counter[str]] = [Counter() for _ in range(MINUTES)]
    for worker in seen:
        silent = max(0, int((at - worker.seen_at) / timedelta(minutes=1)))
        for age, counts in enumerate(worker.report.get("minutes", ()), start=silent):
            if age < MINUTES:
                by_minute[age].update(counts)
    return Fleet(seen, len(alive), _upstreams_seen(alive), by_minute)


def _upstreams_seen(alive: Iterable[Worker]) -> dict[str, UpstreamSeen]:
    found: dict[str, UpstreamSeen] = {}
    for worker in alive:
        for name, glance in worker.report.get("upstreams", {}).items():
            before = found.get(name, UpstreamSeen(name))
            found[name] = UpstreamSeen(
                name,
                max(before.standing, glance["standing"]),  # by name: away is worse than busy
                glance["trouble"] or before.trouble,
                before.in_flight + glance["in_flight"],
                before.limit + glance["limit"],
                before.share + glance["share"],
                before.held + Counter(glance["held"]),
            )
    return found
