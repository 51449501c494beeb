"""How the whole installation is doing, for metrics and the admin: a few cheap questions to Postgres and Redis.

Each reads rows that are not through yet, by partial indexes, and stops counting where more would take long: however
many batches there are, all together take a few milliseconds (docs/explain.md). Nobody's ids or names are in them.
"""

from typing import Any, NamedTuple

import redis
from django.conf import settings
from django.db import connection

from apps.batches import workers
from apps.batches.states import UNFINISHED, BatchStatus, ChunkState
from apps.observability import metrics

MOST_COUNTED = 50_000
"""Rows of a sort that are counted one by one, at about a microsecond each."""

KEPT_SECONDS = 5.0
"""How long an answer is good for everybody who asks; the metrics keep it so long."""


class BatchFigures(NamedTuple):
    """Batches that have not ended."""

    by_status: dict[str, int]
    """Of every unfinished status. More than MOST_COUNTED of all together are not told apart from so many."""
    finalizing_seconds: float
    """For how long the one that is finalizing for longest has been; 0 if none is."""


class Ages(NamedTuple):
    """What has waited for longest, in seconds."""

    oldest_pending: float
    """Age of the oldest batch that has a pending chunk; 0 if none is pending."""
    deadline_margin: float | None
    """Until the next deadline of an unfinished batch, negative once it has passed; None if all have ended."""


def batches() -> BatchFigures:
    found = {status: (number, seconds) for status, number, seconds in _rows(BATCHES)}
    by_status = {status.value: found.get(status.value, (0,))[0] for status in sorted(UNFINISHED)}
    _, finalizing_seconds = found.get(BatchStatus.FINALIZING.value, (0, 0.0))
    return BatchFigures(by_status, finalizing_seconds)


def chunks_by_state() -> dict[str, int]:
    """Pending and running ones. More than MOST_COUNTED pending are estimated, as of Postgres' last (auto)analyze."""
    ((pending, running, estimate),) = _rows(CHUNKS)
    if pending >= MOST_COUNTED:
        pending = max(pending, int(estimate))
    return {ChunkState.PENDING.value: pending, ChunkState.RUNNING.value: running}


def ages() -> Ages:
    """Looks at the oldest unfinished batch of each project, and the oldest that has a pending chunk."""
    ((oldest_pending, deadline_margin),) = _rows(AGES)
    return Ages(oldest_pending, deadline_margin)


def workers_alive() -> int:
    """Processes that take chunks, seen of late."""
    return workers.alive().count()


def queue_depths() -> dict[str, int]:
    """Queue → messages that wait in it. Raises redis.RedisError."""
    names = queues()
    with redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, socket_timeout=2) as broker:
        pipeline = broker.pipeline(transaction=False)
        for name in names:
            pipeline.llen(name)
        return dict(zip(names, pipeline.execute(), strict=True))


def queues() -> list[str]:
    return list(metrics.QUEUES)


def _rows(query: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, {"most": MOST_COUNTED})
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


_UNFINISHED = ", ".join(f"'{status.value}'" for status in sorted(UNFINISHED))

BATCHES = f"""
SELECT status, count(*), coalesce(extract(epoch FROM statement_timestamp() - min(finalizing_at)), 0)::float
  FROM (SELECT status, finalizing_at FROM batches_batch WHERE status IN ({_UNFINISHED}) LIMIT %(most)s)
       AS unfinished
 GROUP BY status
"""  # noqa: S608  made of constants

CHUNKS = """
SELECT (SELECT count(*) FROM (SELECT FROM batches_chunk WHERE state = 'pending' LIMIT %(most)s) AS pending),
       (SELECT count(*) FROM batches_chunk WHERE state = 'running'),
       (SELECT reltuples FROM pg_class WHERE oid = to_regclass('chunk_pending'))
"""

# Project by project, in the order of the index, as a claim does: the first one found ends the search.
AGES = f"""
SELECT coalesce(extract(epoch FROM statement_timestamp() - min(pending.created_at)), 0)::float,
       extract(epoch FROM min(oldest.expires_at) - statement_timestamp())::float
  FROM projects_project AS project
       CROSS JOIN LATERAL (
           SELECT batch.expires_at FROM batches_batch AS batch
            WHERE batch.project_id = project.id AND batch.status IN ({_UNFINISHED})
            ORDER BY batch.created_at, batch.id LIMIT 1) AS oldest
       LEFT JOIN LATERAL (
           SELECT batch.created_at FROM batches_batch AS batch
            WHERE batch.project_id = project.id AND batch.status IN ({_UNFINISHED})
              AND EXISTS (SELECT FROM batches_chunk AS chunk
                           WHERE chunk.batch_id = batch.id AND chunk.state = 'pending')
            ORDER BY batch.created_at, batch.id LIMIT 1) AS pending ON true
"""  # noqa: S608
