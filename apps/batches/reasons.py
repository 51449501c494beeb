"""Why does a batch not move? Answered from what chunks and workers said in their last heartbeats."""

from collections.abc import Iterable
from typing import Any

from django.db.models import Case, CharField, Exists, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Now

from apps.batches import workers
from apps.batches.models import Batch, Chunk
from apps.batches.states import BatchStatus, ChunkState, WaitingReason


def waiting_reason() -> Case:
    """An expression over batches: a WaitingReason, or an empty text for one that moves, or is not in progress."""
    chunks = Chunk.objects.filter(batch=OuterRef("pk"))
    running = chunks.filter(state=ChunkState.RUNNING, lease_expires_at__gt=Now())
    # By name, backwards: what the upstream or the storage does explains more than a queue.
    waiting = running.exclude(waiting="").order_by("-waiting")
    return Case(
        When(~Q(status=BatchStatus.IN_PROGRESS), then=Value("")),
        When(Exists(running.filter(waiting="")), then=Value("")),
        When(Exists(waiting), then=Subquery(waiting.values("waiting")[:1])),
        When(~Exists(chunks.exclude(state=ChunkState.DONE)), then=Value("")),
        When(~Exists(workers.alive()), then=Value(WaitingReason.NO_WORKER)),
        When(Exists(chunks.filter(state=ChunkState.PENDING).exclude(error="")), then=Value(WaitingReason.RETRYING)),
        default=Value(WaitingReason.QUEUED),
        output_field=CharField(),
    )


def of(batches: Iterable[Batch]) -> dict[str, str]:
    """Batch id → reason, for those that wait; one query, and none when no batch is in progress."""
    in_progress = [batch.pk for batch in batches if batch.status == BatchStatus.IN_PROGRESS]
    if not in_progress:
        return {}
    rows: Any = Batch.objects.filter(pk__in=in_progress).values_list("pk", waiting_reason())
    return {batch_id: reason for batch_id, reason in rows if reason}
