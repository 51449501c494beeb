"""The batches of a project that is erased: first nobody runs them any more, then nothing of them is left."""

from contextlib import suppress
from typing import Any

from django.db import transaction
from django.db.models import Count, F, Q
from django.db.models.functions import Now

from apps.api.errors import Conflict
from apps.batches import codes, journal, lifecycle
from apps.batches.models import Batch, Chunk
from apps.batches.states import CANCELLABLE, TERMINAL, BatchStatus, ChunkState
from apps.files import erase as files
from apps.files import storage


def cancel_all(project_id: Any) -> None:
    """Asks every open batch to end: lines in flight finish, and no other is sent."""
    for batch in Batch.objects.filter(project=project_id, status__in=CANCELLABLE):
        with suppress(Conflict):  # it has ended meanwhile
            lifecycle.cancel(batch)


def end_all(project_id: Any) -> list[str]:
    """Ends the cancelled batches that nobody works on; the ids of those that somebody still does."""
    is_open = Batch.objects.filter(project=project_id).exclude(status__in=TERMINAL)
    return [batch_id for batch_id in is_open.values_list("pk", flat=True) if not _end(batch_id)]


def in_flight(batch_ids: list[str]) -> dict[str, int]:
    """Batch → chunks that a worker holds now, none for one that is being assembled."""
    held = Count("chunks", filter=_held("chunks__"))
    return dict(Batch.objects.filter(pk__in=batch_ids).annotate(held=held).values_list("pk", "held"))


@transaction.atomic
def _end(batch_id: str) -> bool:
    """Ends a cancelled batch without its files; False while somebody runs a chunk of it, or assembles it.

    Its open chunks are done from here on, under an epoch that is nobody's. So nobody can claim one any more, and a
    worker that wakes up after its lease ran out can commit nothing: it removes the parts that it wrote.
    """
    Batch.objects.select_for_update().filter(pk=batch_id).first()  # who wants to assemble it waits for us
    lifecycle.move(batch_id, BatchStatus.CANCELLING)  # should it have been created since `cancel_all`
    is_open = Chunk.objects.filter(batch=batch_id).exclude(state=ChunkState.DONE)
    list(is_open.select_for_update().values_list("pk", flat=True))  # who wants to claim one waits for us
    is_assembled = Batch.objects.filter(pk=batch_id, assembling_until__gt=Now()).exclude(status__in=TERMINAL)
    if is_assembled.exists() or is_open.filter(_held()).exists():
        return False
    nobodys = {"owner": "", "waiting": "", "lease_expires_at": None, "halted": codes.CANCELLED}
    is_open.update(state=ChunkState.DONE, epoch=F("epoch") + 1, done_at=Now(), **nobodys)
    lifecycle.move(batch_id, BatchStatus.CANCELLED)
    return True


def _held(prefix: str = "") -> Q:
    return Q(**{f"{prefix}state": ChunkState.RUNNING, f"{prefix}lease_expires_at__gt": Now()})


def remove_all(project_id: Any) -> tuple[int, int]:
    """Removes ended batches: objects and journals first, so that a crash leaves rows that tell of them.

    How many batches and objects these were. Raises StorageError and redis.RedisError; may be repeated.
    """
    batches = objects = 0
    ended = Batch.objects.filter(project=project_id, status__in=TERMINAL)
    for batch_id, *result_ids in ended.values_list("pk", "output_file_id", "error_file_id"):
        for folder in (storage.parts_folder(batch_id), storage.batch_folder(batch_id)):
            objects += storage.remove_folder(folder)
        files.mark_removed(*result_ids)
        journal.erase(*Chunk.objects.filter(batch=batch_id).values_list("pk", flat=True))
        Batch.objects.filter(pk=batch_id).delete()
        batches += 1
    return batches, objects
