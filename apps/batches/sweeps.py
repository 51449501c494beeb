"""Finds, from what Postgres knows, batches whose messages were lost, late or never sent; safe to run any time."""

import math
import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import structlog
from django.conf import settings
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Coalesce, Now

from apps.batches import leases, quota, workers
from apps.batches.models import Batch, Chunk, ChunkQuerySet, Sweep
from apps.batches.states import ASSEMBLABLE, RUNNABLE, TERMINAL, BatchStatus, ChunkState
from apps.files import storage
from apps.files.sweeps import each, remove_old, without_a_row
from apps.observability.metrics import SWEEP_FOUND
from apps.projects.models import Project

log = structlog.get_logger(__name__)

START_GRACE = timedelta(seconds=10)
"""A batch this young may still have its first messages on the way."""
LOST_AFTER = timedelta(seconds=15)
"""A message older than this, while its queue is empty, was lost with its broker."""
FORGOTTEN_AFTER = timedelta(minutes=15)
"""A message older than this is repeated even if its queue is busy: a doubled one does no harm."""
MOST_AT_ONCE = 5_000
BATCH_ID = re.compile(r"batch_[0-9a-f]{24}")

_beat: Any = settings.CELERY_BEAT_SCHEDULE
EVERY: dict[str, float] = {entry["task"]: entry["schedule"] for entry in _beat.values()}
"""The tasks that sweep → seconds between two runs; each leaves a row that says when it last ended."""

KEPT_AFTER_END = timedelta(hours=1)
"""How long an ended batch's chunks are kept for operators to look at."""

MOST_SECONDS_BETWEEN_LOOKS = 20
"""Twice what the schedule says."""

IsIdle = Callable[[str], bool]
"""Tells of a project, by its id, whether the queue of its chunks is empty."""


class PendingChunk(NamedTuple):
    """A chunk that needs a message."""

    project_id: str
    chunk_id: int


class Found(NamedTuple):
    """What the resume sweep asks its caller to send: chunks to run, and ids of batches to finalize."""

    chunks: list[PendingChunk]
    ready: list[str]


class Watch:
    """When this process last got an answer from Postgres.

    After an outage the leases of all runs are over, although their workers live: these get one round of the sweep for
    their next heartbeat, or every line in flight would be sent again.
    """

    def __init__(self) -> None:
        self._looked_at = -math.inf

    def has_gap(self) -> bool:
        """The last look is so long ago that leases may have run out in an outage."""
        return time.monotonic() - self._looked_at > max(MOST_SECONDS_BETWEEN_LOOKS, settings.LEASE_SECONDS / 2)

    def looked(self) -> None:
        """Postgres has answered."""
        self._looked_at = time.monotonic()


_watch = Watch()


def resume(is_idle: IsIdle) -> Found:
    """Chunks that nobody runs and no message will bring back, and batches that only wait to be assembled."""
    if not _watch.has_gap() and (stalled := reclaim_stalled()):
        log.warning("leases ran out", chunks=stalled)
        SWEEP_FOUND.add("expired_leases", number=stalled)
    found = Found(list(_unsent_chunks(is_idle)), _ready_batches())
    SWEEP_FOUND.add("unsent_chunks", number=len(found.chunks))
    SWEEP_FOUND.add("unassembled_batches", number=len(found.ready))
    _watch.looked()
    return found


def reclaim_stalled() -> int:
    """Puts chunks whose lease ran out back to pending; their workers cannot commit any more."""
    stalled = Chunk.objects.stalled()
    back = {"lease_expires_at": None, "enqueued_at": None, "waiting": "", "error": "lease ran out"}
    return stalled.update(state=ChunkState.PENDING, **back)


def mend(batch_id: str) -> int:
    """Takes back what keeps a batch from going on: chunks whose lease ran out, and those broken by hand."""
    stuck = Chunk.objects.filter(batch=batch_id)
    found = [chunks.values_list("pk", flat=True) for chunks in (stuck.stalled(), stuck.broken())]
    return leases.take_back([chunk_id for ids in found for chunk_id in ids])


def overdue() -> list[str]:
    """Batches with pending chunks whose lines only need writing off.

    Past their deadline, or cancelling, or of a project whose token budget is spent.
    """
    past = Q(expires_at__lte=Now()) | Q(project__in=quota.spent_projects())
    ending = Q(status=BatchStatus.CANCELLING) | Q(past, status=BatchStatus.IN_PROGRESS)
    pending = Chunk.objects.filter(batch=OuterRef("pk"), state=ChunkState.PENDING)
    found = list(Batch.objects.filter(ending, Exists(pending)).values_list("pk", flat=True)[:MOST_AT_ONCE])
    SWEEP_FOUND.add("overdue_batches", number=len(found))
    return found


def chunks_of(batch_id: str) -> list[PendingChunk]:
    """The pending chunks of one batch, in order."""
    pending = Chunk.objects.filter(batch=batch_id, state=ChunkState.PENDING, batch__status__in=RUNNABLE)
    return _as_pending(pending.order_by("pk"))


def purge() -> None:
    """Forgets workers that are gone and the chunks of batches that ended a while ago; removes what is left behind.

    Parts are left when a worker died between writing and committing, or when clearing up after an assembly failed; all
    of a batch's objects when the database was restored from a backup that does not know the batch.
    """
    workers.purge()
    each(_forget_chunks, _ended_a_while_ago())
    each(_remove_unknown, _folders_of_nobody())


def _ended_a_while_ago() -> list[str]:
    has_chunks = Exists(Chunk.objects.filter(batch=OuterRef("pk")))
    ended = Batch.objects.filter(has_chunks, status__in=TERMINAL).annotate(
        ended_at=Coalesce("completed_at", "expired_at", "cancelled_at", "failed_at")
    )
    return list(ended.filter(ended_at__lt=Now() - KEPT_AFTER_END).values_list("pk", flat=True)[:MOST_AT_ONCE])


def _forget_chunks(batch_id: str) -> None:
    """Parts first: while there are chunks, the batch is found again."""
    storage.clear(storage.parts_folder(batch_id))
    Chunk.objects.filter(batch=batch_id).delete()


def _folders_of_nobody() -> Iterator[str]:
    """Ids of batches that have a folder and no row. Folders that others have made in the bucket are theirs."""
    for page in storage.folders_in(storage.BATCHES):
        yield from without_a_row(Batch, [name for name in page if BATCH_ID.fullmatch(name)])


def _remove_unknown(batch_id: str) -> None:
    for folder in (storage.parts_folder(batch_id), storage.batch_folder(batch_id)):
        gone = [remove_old(folder, page) for page in storage.pages(folder)]
        if not all(gone):
            return  # some are young; the next purge looks again
        storage.remove_empty(folder)


def ended(name: str, *, seconds: float, error: str) -> None:
    """Notes that a sweep ran, for operators."""
    Sweep.objects.update_or_create(
        name=name, defaults={"ended_at": Now(), "seconds": round(seconds, 3), "error": error[:2000]}
    )


def mark_sent(chunks: list[PendingChunk]) -> None:
    """Notes that messages for these chunks went out just now."""
    Chunk.objects.filter(pk__in=[chunk.chunk_id for chunk in chunks]).update(enqueued_at=Now())


def _unsent_chunks(is_idle: IsIdle) -> Iterator[PendingChunk]:
    """Two searches, each with a limit of its own: what waits in busy queues must not hide what was forgotten."""
    waiting = Chunk.objects.filter(state=ChunkState.PENDING, batch__status__in=RUNNABLE).order_by("enqueued_at", "pk")
    # Of a young batch the first messages may be on the way.
    never = Q(enqueued_at=None, batch__in_progress_at__lt=Now() - START_GRACE)
    forgotten = never | Q(enqueued_at__lt=Now() - FORGOTTEN_AFTER)
    yield from _as_pending(waiting.filter(forgotten))
    sent = waiting.filter(enqueued_at__lt=Now() - LOST_AFTER, enqueued_at__gte=Now() - FORGOTTEN_AFTER)
    # Project by project, which ends with the first chunk found: there may be a million that wait.
    projects = Project.objects.filter(Exists(sent.filter(batch__project=OuterRef("pk")))).order_by()
    idle = [project_id for project_id in projects.values_list("pk", flat=True) if is_idle(str(project_id))]
    if idle:
        yield from _as_pending(sent.filter(batch__project_id__in=idle))


def _ready_batches() -> list[str]:
    unfinished_chunk = Chunk.objects.filter(batch=OuterRef("pk")).exclude(state=ChunkState.DONE)
    nobody_at_it = Q(assembling_until=None) | Q(assembling_until__lt=Now())
    ready = Batch.objects.filter(nobody_at_it, ~Exists(unfinished_chunk), status__in=ASSEMBLABLE)
    return list(ready.values_list("pk", flat=True)[:MOST_AT_ONCE])


def _as_pending(chunks: ChunkQuerySet) -> list[PendingChunk]:
    rows = chunks.values_list("batch__project_id", "pk")[:MOST_AT_ONCE]
    return [PendingChunk(str(project_id), chunk_id) for project_id, chunk_id in rows]
