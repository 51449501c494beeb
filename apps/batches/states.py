"""The states of a batch and of a chunk, and the edges between them, as data (docs/architecture.md draws them)."""

from django.db.models import TextChoices


class BatchStatus(TextChoices):
    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


class ChunkState(TextChoices):
    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"


class WaitingReason(TextChoices):
    """Why a batch in progress sends nothing just now; for people, and gone as soon as it moves."""

    UPSTREAM_PAUSED = "upstream_paused", "the upstream cannot be reached and is being probed"
    UPSTREAM_BUSY = "upstream_busy", "the upstream says that it is busy (429 or 503)"
    STORAGE_AWAY = "storage_away", "answers are kept until the file storage takes them"
    QUEUED = "queued", "queued behind other batches"
    RETRYING = "retrying", "a chunk failed and will be tried again; its error is in the log"
    NO_WORKER = "no_worker", "no worker was seen in the last 30 s"


EDGES: dict[BatchStatus, frozenset[BatchStatus]] = {
    BatchStatus.VALIDATING: frozenset({BatchStatus.IN_PROGRESS, BatchStatus.FAILED}),
    BatchStatus.IN_PROGRESS: frozenset({BatchStatus.FINALIZING, BatchStatus.CANCELLING, BatchStatus.EXPIRED}),
    # A cancel is honoured until the last moment: it may overtake the assembly, whose result is then kept as cancelled.
    BatchStatus.FINALIZING: frozenset({BatchStatus.COMPLETED, BatchStatus.CANCELLING}),
    BatchStatus.CANCELLING: frozenset({BatchStatus.CANCELLED}),
}

TERMINAL = frozenset(status for status in BatchStatus if status not in EDGES)
UNFINISHED = frozenset(EDGES)
"""Not terminal: the batch still needs work, and its input's bytes."""
CANCELLABLE = UNFINISHED - {BatchStatus.CANCELLING}
"""A cancel changes such a batch; a cancelling one was asked before."""
RUNNABLE = frozenset({BatchStatus.IN_PROGRESS, BatchStatus.CANCELLING})
"""Chunks of such a batch may be claimed; a cancelling one's to write what was not sent."""


ASSEMBLABLE = RUNNABLE | {BatchStatus.FINALIZING}
"""Once all chunks of such a batch are done, its files can be joined."""


def sources(target: BatchStatus) -> frozenset[BatchStatus]:
    """The states from which an edge leads to `target`."""
    return frozenset(source for source, targets in EDGES.items() if target in targets)
