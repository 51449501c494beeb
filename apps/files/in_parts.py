"""An upload in parts: begun, filled by several requests at once, and completed to a file, cancelled, or forgotten."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

import structlog
from django.conf import settings
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from apps.api.errors import InvalidRequest, NotFound, StorageError
from apps.api.ids import is_wellformed
from apps.files import quota, storage, uploads
from apps.files.models import File, Upload, UploadPart, UploadStatus
from apps.files.uploads import Remember, do_not_remember
from apps.observability import failpoints
from apps.projects.models import Project

log = structlog.get_logger(__name__)

OPEN_FOR = timedelta(hours=1)
MOST_PARTS = 1_000


def begin(
    project: Project,
    filename: str,
    size: int,
    file_expires_after: int | None,
    remember: Remember = do_not_remember,
) -> Upload:
    """A new upload of `size` bytes, open for an hour. Raises QuotaExceeded."""
    now = timezone.now()
    with transaction.atomic():
        quota.admit(project, size)
        begun = Upload.objects.create(
            project=project,
            filename=filename,
            bytes=size,
            file_expires_after=file_expires_after,
            created_at=now,
            expires_at=now + OPEN_FOR,
        )
        remember(begun.pk)
    log.info("upload begun", upload_id=begun.pk, bytes=size)
    return begun


def find(project: Project, upload_id: str) -> Upload:
    """The project's upload. Raises NotFound `upload_not_found`, alike for another project's and for none at all."""
    mine = Upload.objects.select_related("project", "file").filter(project=project)
    found = mine.filter(pk=upload_id).first() if is_wellformed(upload_id) else None
    if found is None:
        raise NotFound(f"Upload not found: {upload_id[:100]}", code="upload_not_found", param="upload_id")
    return found


def find_open(project: Project, upload_id: str) -> Upload:
    """The same, if it takes parts and may be completed or cancelled. Raises NotFound, InvalidRequest."""
    found = find(project, upload_id)
    if not Upload.objects.open().filter(pk=found.pk).exists():
        raise _ended(found)
    return found


def add(upload: Upload, spool: TemporaryUploadedFile) -> UploadPart:
    """Stores one part. Raises InvalidRequest if the upload ended while it was received, or has too many; StorageError.

    As with a file, the object comes first: a crash leaves one without a row, which the purge removes.
    """
    part = UploadPart(upload=upload, bytes=spool.size or 0)
    storage.store(storage.upload_part_key(part.pk), spool)
    if not _register(part):
        storage.discard(storage.upload_part_key(part.pk))
        raise _ended(upload) if _has_ended(upload) else _too_many(upload)
    return part


def _register(part: UploadPart) -> bool:
    """Counts the part in if its upload still takes it. Whoever ends the upload waits for this, or comes before it."""
    room = {"part_count__lt": MOST_PARTS, "received_bytes__lte": most_received(part.upload) - part.bytes}
    with transaction.atomic():
        counted = Upload.objects.open().filter(pk=part.upload_id, **room)
        if not counted.update(part_count=F("part_count") + 1, received_bytes=F("received_bytes") + part.bytes):
            return False
        part.save(force_insert=True)
    return True


def most_received(upload: Upload) -> int:
    """Bytes in all parts of an upload: a part whose answer got lost is sent again, and again.

    By what was announced, for that is what limits ask for.
    """
    return 2 * upload.bytes + min(upload.bytes, settings.MAX_PART_BYTES)


def complete(upload: Upload, part_ids: Sequence[str], md5: str | None) -> Upload:
    """Joins the parts in this order to a file, registers it and ends the upload, the last two in one transaction.

    Raises InvalidRequest (an unknown part, bytes or md5 that do not match: the upload stays open; or it has ended
    meanwhile) and StorageError. Two at once both join, to objects of their own, and one guarded UPDATE decides.
    """
    parts = _named(upload, part_ids)
    stored = _joined(upload, parts, md5)
    with transaction.atomic():
        stored.save(force_insert=True)
        if not (ended := _end(upload, UploadStatus.COMPLETED, file=stored)):
            transaction.set_rollback(True)
    if not ended:
        storage.discard(stored.object_key)
        raise _ended(upload)
    remove_parts(upload)
    return find(upload.project, upload.pk)


def _named(upload: Upload, part_ids: Sequence[str]) -> list[UploadPart]:
    known = {part.pk: part for part in UploadPart.objects.filter(upload=upload)}
    for part_id in part_ids:
        if part_id not in known:
            if _has_ended(upload):  # just now, and its parts went with it
                raise _ended(upload)
            raise InvalidRequest(f"Part not found: {part_id[:100]}", code="part_not_found", param="part_ids")
    if len(set(part_ids)) < len(part_ids):
        raise InvalidRequest("part_ids names a part twice", param="part_ids")
    parts = [known[part_id] for part_id in part_ids]
    if (size := sum(part.bytes for part in parts)) != upload.bytes:
        message = f"The parts have {size} bytes, and the upload was announced with {upload.bytes}"
        raise InvalidRequest(message, code="bytes_mismatch", param="part_ids")
    return parts


def _joined(upload: Upload, parts: Iterable[UploadPart], md5: str | None) -> File:
    """The file, not saved yet."""
    sources = [storage.Source(storage.upload_part_key(part.pk), part.bytes) for part in parts]
    stored = uploads.draft(upload.project, upload.filename, upload.file_expires_after)
    try:
        stored.bytes = storage.join(stored.object_key, sources, md5=md5)
    except FileNotFoundError:
        if _has_ended(upload):
            raise _ended(upload) from None
        log.error("part is missing", upload_id=upload.pk)
        raise StorageError from None
    except storage.Md5Differs as differs:
        message = f"The parts have the md5 {differs.found}, not {str(md5)[:100]}"
        raise InvalidRequest(message, code="md5_mismatch", param="md5") from None
    failpoints.reach("upload.stored")
    return stored


def cancel(upload: Upload) -> Upload:
    """Ends the upload and removes what was received. Raises InvalidRequest if it has ended meanwhile."""
    if not _end(upload, UploadStatus.CANCELLED):
        raise _ended(upload)
    remove_parts(upload)
    return find(upload.project, upload.pk)


def _end(upload: Upload, status: UploadStatus, **columns: object) -> bool:
    ended = Upload.objects.open().filter(pk=upload.pk).update(status=status, ended_at=Now(), **columns)
    if ended:
        log.info("upload ended", upload_id=upload.pk, status=status.value)
    return bool(ended)


def expire_overdue() -> None:
    """Marks what nobody completed in time."""
    if expired := Upload.objects.overdue().update(status=UploadStatus.EXPIRED, ended_at=Now()):
        log.info("uploads expired", uploads=expired)


def remove_parts(upload: Upload) -> None:
    """Removes an ended upload's parts. It has ended: a failure here is the purge sweep's to mend."""
    try:
        ids = list(UploadPart.objects.filter(upload=upload).values_list("pk", flat=True))
        storage.remove_all([storage.upload_part_key(part_id) for part_id in ids])
        UploadPart.objects.filter(pk__in=ids).delete()
    except StorageError:
        log.warning("parts not removed", upload_id=upload.pk, exc_info=True)


def remove_part(part_id: str) -> None:
    """Removes a part's bytes, then its row; twice does no harm. Raises StorageError."""
    storage.remove(storage.upload_part_key(part_id))
    UploadPart.objects.filter(pk=part_id).delete()


def _has_ended(upload: Upload) -> bool:
    return not Upload.objects.open().filter(pk=upload.pk).exists()


def _ended(upload: Upload) -> InvalidRequest:
    """The error for an upload that takes nothing more, with its status as it is by now."""
    upload.refresh_from_db(fields=["status"])
    status = UploadStatus.EXPIRED if upload.status == UploadStatus.PENDING else upload.status
    return InvalidRequest(f"Upload is {status}", code="upload_not_pending", param="upload_id")


def _too_many(upload: Upload) -> InvalidRequest:
    message = f"An upload takes at most {MOST_PARTS} parts, and this one {most_received(upload)} bytes in all of them"
    return InvalidRequest(message, code="too_many_parts", param="data")
