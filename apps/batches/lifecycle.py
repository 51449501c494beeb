"""Everything that changes a batch's status: one guarded UPDATE for each edge of states.py, timed by Postgres' clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now

from apps.api.errors import Conflict, NotFound
from apps.api.ids import is_wellformed
from apps.batches import quota
from apps.batches.models import Batch, Chunk
from apps.batches.states import TERMINAL, BatchStatus, sources
from apps.files import uploads
from apps.files.models import File
from apps.files.uploads import Remember, do_not_remember
from apps.observability import failpoints, metrics
from apps.projects.models import ApiKey, Project
from apps.webhooks import outbox
from apps.webhooks.models import EventType

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class BatchRequest:
    """What a client asked for: the checked fields of POST /v1/batches, and who asked.

    Who asked is a key or, in the console, a member; a batch whose key is revoked or whose member is gone sends no more.
    `remember` notes the batch's id with it, also of a batch whose input is rejected. `new_input` is stored but no File
    yet: it becomes one together with the batch. `retry_of` is the batch whose lines it has.
    """

    project: Project
    api_key: ApiKey | None
    input_file_id: str
    endpoint: str
    metadata: dict[str, Any]
    output_expires_after: int | None
    submitted_by: User | None = None
    remember: Remember = do_not_remember
    retry_of: Batch | None = None
    new_input: File | None = None


def create(request: BatchRequest, input_file: File, *, chunks: Sequence[Chunk], total: int, model: str | None) -> Batch:
    """Stores a valid batch and its planned chunks, durable and in progress, in one transaction.

    The input's bytes are held from here to the batch's end. Raises NotFound if the file was deleted since it was read,
    and QuotaExceeded.
    """
    batch = _new(request, input_file, total=total, model=model)
    with transaction.atomic():
        quota.admit(request.project, total)
        _register_input(request)
        if not uploads.hold(input_file.pk):
            raise input_not_found(input_file.pk)
        failpoints.reach("create.input_held")
        batch.save(force_insert=True)
        failpoints.reach("create.batch_saved")
        for chunk in chunks:
            chunk.batch = batch
        Chunk.objects.bulk_create(chunks, batch_size=500)
        failpoints.reach("create.chunks_saved")
        move(batch.pk, BatchStatus.IN_PROGRESS)
        request.remember(batch.pk)
        failpoints.reach("create.moved")
    failpoints.reach("create.committed")
    log.info("batch created", batch_id=batch.pk, lines=total, chunks=len(chunks))
    return Batch.objects.get(pk=batch.pk)


def create_failed(request: BatchRequest, input_file: File, errors: list[dict[str, Any]]) -> Batch:
    """Remembers a rejected input as a `failed` batch that lists what is wrong (wire.md §6)."""
    batch = _new(request, input_file, total=0, model=None)
    batch.errors = {"object": "list", "data": errors}
    with transaction.atomic():
        _register_input(request)
        batch.save(force_insert=True)
        move(batch.pk, BatchStatus.FAILED)
        request.remember(batch.pk)
    log.info("batch rejected", batch_id=batch.pk, errors=len(errors))
    return batch


def _register_input(request: BatchRequest) -> None:
    if request.new_input is not None:
        uploads.register(request.new_input)


def _new(request: BatchRequest, input_file: File, *, total: int, model: str | None) -> Batch:
    window = timedelta(seconds=settings.COMPLETION_WINDOW_SECONDS)
    return Batch(
        project=request.project,
        api_key=request.api_key,
        submitted_by=request.submitted_by,
        input_file=input_file,
        retry_of=request.retry_of,
        endpoint=request.endpoint,
        metadata=request.metadata,
        output_expires_after=request.output_expires_after,
        total=total,
        model=model,
        created_at=Now(),
        expires_at=Now() + window,
    )


def move(batch_id: str, target: BatchStatus, **columns: Any) -> bool:
    """Moves the batch along an edge of states.py and stamps `<target>_at`; `columns` are written with it.

    One UPDATE, guarded by the sources of the edge: False means that somebody else moved the batch first, or that it is
    terminal. When the batch ends, its hold on the input's bytes ends in the same transaction, which also holds the
    event for whoever is to be told (wire.md §9).
    """
    stamp = {f"{target.value}_at": Now()}
    with transaction.atomic():
        rows = Batch.objects.filter(pk=batch_id, status__in=sources(target))
        if not rows.update(status=target, **stamp, **columns):
            return False
        if target in TERMINAL:
            _end(batch_id, target)
    transaction.on_commit(partial(metrics.BATCHES_MOVED.add, target.value))
    log.info("batch moved", batch_id=batch_id, status=target.value)
    return True


def _end(batch_id: str, target: BatchStatus) -> None:
    project_id, input_file_id = Batch.objects.values_list("project_id", "input_file_id").get(pk=batch_id)
    if target is not BatchStatus.FAILED:  # a rejected input was never held
        uploads.release(input_file_id)
    outbox.record(project_id, EventType(f"batch.{target.value}"), batch_id)


def cancel(batch: Batch) -> bool:
    """Asks an unfinished batch to end; True if this call did, False if it was asked before or is `cancelled` already.

    Raises Conflict `batch_not_cancellable` when it has ended otherwise (wire.md §7).
    """
    if move(batch.pk, BatchStatus.CANCELLING):
        return True
    batch.refresh_from_db()
    if batch.status in {BatchStatus.CANCELLING, BatchStatus.CANCELLED}:
        return False
    raise Conflict(f"Batch is {batch.status} and can no longer be cancelled", code="batch_not_cancellable")


def extend(batch: Batch, hours: int) -> bool:
    """Moves the deadline of a batch in progress to `hours` from now, if that is later; False if it was not moved.

    Lines that have been written off as expired stay so. Leases and messages do not depend on the deadline.
    """
    later = Now() + timedelta(hours=hours)
    rows = Batch.objects.filter(pk=batch.pk, status=BatchStatus.IN_PROGRESS, expires_at__lt=later)
    if not rows.update(expires_at=later):
        return False
    log.info("deadline extended", batch_id=batch.pk, hours=hours)
    return True


def find(project: Project, batch_id: str, *, param: str = "batch_id") -> Batch:
    """The project's batch. Raises NotFound `batch_not_found`, alike for another project's and for no batch at all."""
    found = Batch.objects.filter(project=project, pk=batch_id).first() if is_wellformed(batch_id) else None
    if found is None:
        raise NotFound(f"Batch not found: {batch_id[:100]}", code="batch_not_found", param=param)
    return found


def input_not_found(file_id: object) -> NotFound:
    """The error for an input that is not there, deleted, expired, another project's, or of another purpose."""
    shown = str(file_id)[:100]
    return NotFound(f"Input file not found: {shown}", code="file_not_found", param="input_file_id")
