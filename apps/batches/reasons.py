"""Why does a batch not move? Answered from what chunks and workers said in their last heartbeats."""

from collections.abc import Iterable
from typing import Any

from django.db.models import CharField
from django.db.models.expressions import RawSQL

from apps.batches import workers
from apps.batches.models import Batch
from apps.batches.states import BatchStatus, WaitingReason

SEEN_WITHIN = f"{workers.SEEN_WITHIN.total_seconds():g} seconds"

# Written out: every poll of a batch in progress asks it, and Django took 3 ms of CPU to put it together each time.
# What the upstream or the storage does explains more than a queue: so by name, backwards, after those that move.
REASON = f"""
CASE WHEN batches_batch.status <> 'in_progress' THEN '' ELSE coalesce(
  (SELECT chunk.waiting FROM batches_chunk AS chunk
    WHERE chunk.batch_id = batches_batch.id AND chunk.state = 'running'
      AND chunk.lease_expires_at > statement_timestamp()
    ORDER BY chunk.waiting <> '', chunk.waiting DESC LIMIT 1),
  CASE
    WHEN NOT EXISTS (SELECT FROM batches_chunk AS chunk
                      WHERE chunk.batch_id = batches_batch.id AND chunk.state <> 'done')
    THEN ''
    WHEN NOT EXISTS (SELECT FROM batches_worker AS worker
                      WHERE worker.seen_at > statement_timestamp() - interval '{SEEN_WITHIN}')
    THEN '{WaitingReason.NO_WORKER.value}'
    WHEN EXISTS (SELECT FROM batches_chunk AS chunk
                  WHERE chunk.batch_id = batches_batch.id AND chunk.state = 'pending' AND chunk.error <> '')
    THEN '{WaitingReason.RETRYING.value}'
    ELSE '{WaitingReason.QUEUED.value}'
  END)
END
"""  # noqa: S608  made of constants


def waiting_reason() -> RawSQL:
    """An expression over batches: a WaitingReason, or an empty text for one that moves, or is not in progress."""
    return RawSQL(REASON, (), output_field=CharField())  # noqa: S611  made of constants


def of(batches: Iterable[Batch]) -> dict[str, str]:
    """Batch id → reason, for those that wait; one query, and none when no batch is in progress."""
    in_progress = [batch.pk for batch in batches if batch.status == BatchStatus.IN_PROGRESS]
    if not in_progress:
        return {}
    rows: Any = Batch.objects.filter(pk__in=in_progress).values_list("pk", waiting_reason())
    return {batch_id: reason for batch_id, reason in rows if reason}
