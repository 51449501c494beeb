"""What becomes of a file: taken in, or deleted when nobody reads it any more."""

from collections.abc import Callable
from typing import Any

import structlog
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from apps.api.errors import Conflict, InvalidRequest, NotFound, QuotaExceeded
from apps.api.ids import is_wellformed, new_id
from apps.files import quota, storage
from apps.files.models import File, FileQuerySet, Purpose, expiry
from apps.observability import failpoints
from apps.projects import audit
from apps.projects.models import Project

log = structlog.get_logger(__name__)

Remember = Callable[[str], None]
"""Notes the id of what is created; called in the transaction that creates it, which ends with what it raises."""

LEAST_EXPIRY_SECONDS, MOST_EXPIRY_SECONDS = 3_600, 2_592_000


def do_not_remember(_: str) -> None:
    """For what nobody asks for twice."""


def store_upload(
    project: Project, spool: TemporaryUploadedFile, expires_after: int | None, remember: Remember = do_not_remember
) -> File:
    """Stores the received bytes as they are, then registers them. Raises StorageError, QuotaExceeded.

    In that order a crash leaves an object without a row, which nobody sees, never a row without its object.
    """
    stored = put(project, spool, expires_after)
    try:
        with transaction.atomic():
            register(stored)
            remember(stored.pk)
    except (Conflict, QuotaExceeded, IntegrityError):  # the last one if the project was erased meanwhile
        storage.discard(stored.object_key)
        raise
    log.info("file stored", file_id=stored.pk, bytes=stored.bytes)
    return stored


def put(project: Project, spool: TemporaryUploadedFile, expires_after: int | None) -> File:
    """Stores the received bytes; registering them is the caller's. Raises StorageError."""
    stored = draft(project, spool.name, expires_after)
    storage.store(stored.object_key, spool)
    stored.bytes = spool.size or 0
    failpoints.reach("upload.stored")
    return stored


def draft(project: Project, filename: str | None, expires_after: int | None) -> File:
    """A file that is neither stored nor registered yet, and knows where it will lie."""
    file_id, now = new_id("file-"), timezone.now()
    return File(
        id=file_id,
        project=project,
        filename=filename or f"{file_id}.jsonl",
        purpose=Purpose.BATCH,
        bytes=0,
        object_key=storage.upload_key(file_id),
        created_at=now,
        expires_at=expiry(now, expires_after),
    )


def register(stored: File) -> None:
    """Makes a File of stored bytes. Belongs into a transaction; raises QuotaExceeded if the project has no room."""
    quota.admit(stored.project, stored.bytes)
    stored.save(force_insert=True)


def find_live(project: Project, file_id: object) -> File:
    """The project's file that a client can see. Raises NotFound `file_not_found`."""
    return _find(File.objects.live().filter(project=project), file_id, "file_id")


def find_cursor(project: Project, file_id: str | None) -> File | None:
    """The row that paging goes on from; a file deleted meanwhile still marks its place. Raises NotFound."""
    return _find(File.objects.filter(project=project), file_id, "after") if file_id else None


def _find(rows: FileQuerySet, file_id: object, param: str) -> File:
    found = rows.filter(pk=file_id).first() if is_wellformed(file_id) else None
    if found is None:
        raise NotFound(f"File {str(file_id)[:100]} not found", code="file_not_found", param=param)
    return found


def delete(stored: File) -> None:
    """Deletes the file: 404 from now on, its bytes removed at once unless an unfinished batch reads them (wire.md §4).

    Of two deletions at once, one wins and removes. Raises StorageError; the file is deleted all the same.
    """
    now = timezone.now()
    with transaction.atomic():
        is_first = File.objects.filter(pk=stored.pk, deleted_at=None).update(deleted_at=now)
        if is_first:
            audit.record("file.deleted", stored.project_id, stored.pk, after={"deleted_at": now})
    if is_first:
        remove_if_unread(stored.pk)


def hold(file_id: str) -> bool:
    """Keeps the bytes of a live file for a batch that is being created; False if it is deleted or expired by now."""
    return File.objects.live().filter(pk=file_id).update(readers=F("readers") + 1) == 1


def release(file_id: str) -> None:
    """Gives a hold back. Belongs into the transaction that ends the batch, so that each hold ends exactly once."""
    File.objects.filter(pk=file_id).update(readers=F("readers") - 1)


def remove_if_unread(file_id: str) -> None:
    """Removes a deleted or expired file's bytes if no batch holds them; twice does no harm. Raises StorageError."""
    stored = File.objects.ended().filter(pk=file_id, readers=0, object_removed_at=None).first()
    if stored is None:
        return
    storage.remove(stored.object_key)
    File.objects.filter(pk=file_id).update(object_removed_at=timezone.now())
    log.info("file object removed", file_id=file_id)


def parse_expiry(anchor: Any, seconds: Any, field: str) -> int | None:
    """Seconds of an `expires_after`, or None when neither member was sent. Raises InvalidRequest.

    wire.md §4: the anchor is `created_at`, the seconds lie between an hour and 30 days. `field` names it in errors.
    """
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise InvalidRequest(f'{field}[anchor] must be "created_at"', param=f"{field}[anchor]")
    number = whole(seconds)
    if number is None or not LEAST_EXPIRY_SECONDS <= number <= MOST_EXPIRY_SECONDS:
        raise InvalidRequest(
            f"{field}[seconds] must be an integer from {LEAST_EXPIRY_SECONDS} to {MOST_EXPIRY_SECONDS}",
            param=f"{field}[seconds]",
        )
    return number


def whole(value: Any) -> int | None:
    """A whole number as a form or JSON may write it, or None."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)  # JSON knows one kind of number: 3600.0 is whole
    return value if isinstance(value, int) and not isinstance(value, bool) else None
