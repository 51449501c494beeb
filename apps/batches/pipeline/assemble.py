"""The last stage: joins the parts of all chunks to the output and error files and ends the batch."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import structlog
from django.db import Error, transaction
from django.utils import timezone

from apps.api.errors import StorageError
from apps.api.ids import new_id
from apps.batches import codes, heartbeat, journal, leases, lifecycle
from apps.batches.models import Batch, Chunk
from apps.batches.pipeline.parts import ERROR, KINDS, OUTPUT
from apps.batches.states import BatchStatus, ChunkState
from apps.files import storage, uploads
from apps.files.models import File, Purpose, expiry
from apps.observability import failpoints, traces

log = structlog.get_logger(__name__)

SIZE_COLUMN = {OUTPUT: "output_bytes", ERROR: "error_bytes"}


def assemble(batch_id: str) -> bool:
    """Ends the batch if all its chunks are done; True if this call did.

    One worker at a time holds the assembly, by a lease. Should two ever overlap, there is one result all the same: the
    keys are deterministic, their content too, and only one guarded UPDATE ends the batch. Files are written before the
    transaction that registers them and moves the batch, so no I/O happens inside it, and no File row lacks its bytes.
    Parts go last: until then all can be repeated. Raises StorageError, and RuntimeError if lines have no result.
    """
    if not is_ready(batch_id) or not leases.claim_assembly(batch_id):
        return False
    try:
        with traces.span("assemble", batch_id), heartbeat.heartbeat.keep_assembly(batch_id):
            return _assemble_claimed(Batch.objects.get(pk=batch_id))
    except BaseException:
        with suppress(Error):  # Postgres may be what failed; then the lease runs out
            leases.release_assembly(batch_id)
        raise


def _assemble_claimed(batch: Batch) -> bool:
    failpoints.reach("assemble.claimed")
    chunks = list(Chunk.objects.filter(batch=batch).order_by("index"))
    _check_whole(batch, chunks)
    ending = _ending(batch, chunks)
    try:
        sizes = {kind: _join(batch, chunks, kind) for kind in KINDS}
    except FileNotFoundError:
        return _explain_missing_parts(batch)
    if not _end(batch, ending, sizes):
        return False
    failpoints.reach("assemble.committed")
    traces.batch_ended(batch.pk, batch.created_at, lines=batch.total)
    _clear_up(batch)
    return True


def is_ready(batch_id: str) -> bool:
    """Every chunk is done. Asked in a new transaction after a chunk's commit, so that the last one sees the others."""
    return not Chunk.objects.filter(batch=batch_id).exclude(state=ChunkState.DONE).exists()


def _check_whole(batch: Batch, chunks: Iterable[Chunk]) -> None:
    """No line may ever be lost: a commit has a result for each, so only somebody's hand can have left one without."""
    for chunk in chunks:
        if missing := chunk.lines - chunk.completed - chunk.failed:
            log.error("lines have no result", batch_id=batch.pk, chunk=chunk.index, lines=missing)
            raise RuntimeError(f"{missing} lines of chunk {chunk} have no result")


def _ending(batch: Batch, chunks: Iterable[Chunk]) -> BatchStatus:
    """Which terminal state the batch comes to. Only a batch that completes passes through `finalizing`."""
    if any(chunk.halted == codes.EXPIRED for chunk in chunks) and batch.status == BatchStatus.IN_PROGRESS:
        return BatchStatus.EXPIRED
    if batch.status == BatchStatus.IN_PROGRESS:
        lifecycle.move(batch.pk, BatchStatus.FINALIZING)
        failpoints.reach("assemble.finalizing")
    return BatchStatus.COMPLETED


def _join(batch: Batch, chunks: Iterable[Chunk], kind: str) -> int:
    """Writes one final file from its parts and returns its bytes; nothing is written when there are none."""
    parts = [
        storage.Source(storage.part_key(batch.pk, chunk.index, chunk.epoch, kind), length)
        for chunk in chunks
        if (length := getattr(chunk, SIZE_COLUMN[kind]))
    ]
    written = storage.join(storage.result_key(batch.pk, kind), parts)
    if written:
        failpoints.reach(f"assemble.{kind}_stored")
    return written


def _explain_missing_parts(batch: Batch) -> bool:
    """Parts vanish when somebody else has just ended the batch; any other cause is a fault that must be heard of."""
    batch.refresh_from_db()
    if batch.is_terminal:
        return False
    log.error("parts are missing", batch_id=batch.pk)
    raise StorageError


def _end(batch: Batch, ending: BatchStatus, sizes: dict[str, int]) -> bool:
    """Registers the files and moves the batch to its end, together or not at all."""
    with transaction.atomic():
        files = {f"{kind}_file": _register(batch, kind, size) for kind, size in sizes.items() if size}
        failpoints.reach("assemble.registered")
        tally: dict[str, Any] = Chunk.objects.tallies([batch])[batch.pk]._asdict()
        moved = lifecycle.move(batch.pk, ending, **files, **tally) or (
            # Cancelled in the meantime: what was assembled is what the cancelled batch keeps.
            lifecycle.move(batch.pk, BatchStatus.CANCELLED, **files, **tally)
        )
        failpoints.reach("assemble.moved")
        if not moved:
            transaction.set_rollback(True)
    return moved


def _register(batch: Batch, kind: str, size: int) -> File:
    file_id, now = new_id("file-"), timezone.now()
    return File.objects.create(
        id=file_id,
        project_id=batch.project_id,
        filename=f"{file_id}.jsonl",
        purpose=Purpose.BATCH_OUTPUT,
        is_error=kind == ERROR,
        bytes=size,
        object_key=storage.result_key(batch.pk, kind),
        created_at=now,
        expires_at=expiry(now, batch.output_expires_after),
    )


def _clear_up(batch: Batch) -> None:
    """Removes what the ended batch needs no more, parts of dead workers included.

    It has ended: a failure here is the purge sweep's to mend.
    """
    try:
        storage.clear(storage.parts_folder(batch.pk))
        # Of chunks that were committed while Redis was away the journal is still there.
        journal.drop(*Chunk.objects.filter(batch=batch).values_list("pk", flat=True))
        failpoints.reach("assemble.parts_removed")
        uploads.remove_if_unread(batch.input_file_id)
    except StorageError:
        log.warning("clearing up failed", batch_id=batch.pk, exc_info=True)
