"""Removes bytes that nobody can ask for any more; safe to run in any number of processes at once."""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import structlog
from django.conf import settings
from django.db.models import Model
from django.utils import timezone

from apps.api.errors import StorageError
from apps.files import in_parts, storage, uploads
from apps.files.models import File, UploadPart, UploadStatus
from apps.observability.metrics import SWEEP_FOUND

log = structlog.get_logger(__name__)

ORPHAN_AGE = timedelta(hours=24)
"""An object this young may belong to an upload whose row is about to be written, also if two clocks differ by hours."""
SPOOL_AGE = timedelta(hours=24)
MOST_AT_ONCE = 1_000

Item = TypeVar("Item")


def purge() -> None:
    """Removes the objects of deleted and expired files and ended uploads, those without a row, and dead spools."""
    each(uploads.remove_if_unread, _removable())
    in_parts.expire_overdue()
    each(in_parts.remove_part, _parts_left())
    _remove_orphans(storage.UPLOADS, re.compile(r"(file-.*)\.jsonl"), File)
    _remove_orphans(storage.PARTS, re.compile(r"(part_.*)\.part"), UploadPart)
    _drop_unfinished()
    each(_remove_old_spool, Path(settings.SPOOL_DIR).glob("*"))


def _removable() -> list[str]:
    """Deleted and expired files whose bytes are still there and that nobody reads."""
    ended = File.objects.ended().filter(readers=0, object_removed_at=None).order_by("created_at")
    return list(ended.values_list("pk", flat=True)[:MOST_AT_ONCE])


def each(remove: Callable[[Item], None], items: Iterable[Item]) -> None:
    """Removes all; what cannot be removed is logged, left for the next time, and does not stop the others."""
    for item in items:
        SWEEP_FOUND.add("removable")
        try:
            remove(item)
        except (StorageError, OSError):
            log.warning("not purged", item=str(item), exc_info=True)


def _parts_left() -> list[str]:
    """Parts of uploads that nobody completed, or whose removal failed."""
    left = UploadPart.objects.exclude(upload__status=UploadStatus.PENDING).order_by("created_at")
    return list(left.values_list("pk", flat=True)[:MOST_AT_ONCE])


def _remove_orphans(folder: str, ours: re.Pattern[str], rows: type[File] | type[UploadPart]) -> None:
    """Removes what was stored but never registered, because a crash came between; `ours` finds the id in a name.

    By the page: S3 removes many in one request, and a bucket's folder of millions is never held as a whole. Whatever
    else lies there, in a bucket that others use too, is theirs.
    """
    for page in storage.pages(folder):
        ids = {found[1]: listed for listed in page if (found := ours.fullmatch(listed.name))}
        remove_old(folder, [ids[each_id] for each_id in without_a_row(rows, list(ids))])


def without_a_row(rows: type[Model], ids: Sequence[str]) -> list[str]:
    """Those of the ids that the database does not know."""
    known = set(rows._default_manager.filter(pk__in=ids).values_list("pk", flat=True))
    return [each_id for each_id in ids if each_id not in known]


def remove_old(folder: str, orphans: Sequence[storage.Listed]) -> bool:
    """Removes these of a folder's objects, but for those that are younger than ORPHAN_AGE; whether none is left."""
    keys = [f"{folder}/{listed.name}" for listed in orphans if _is_old(folder, listed)]
    SWEEP_FOUND.add("removable", number=len(keys))
    try:
        storage.remove_all(keys)
    except StorageError:
        log.warning("not purged", item=f"{len(keys)} orphans in {folder}", exc_info=True)
        return False
    return len(keys) == len(orphans)


def _is_old(folder: str, listed: storage.Listed) -> bool:
    """False also of what has gone meanwhile, or cannot be looked at."""
    try:
        written_at = listed.modified_at or storage.modified_at(f"{folder}/{listed.name}")
        return written_at < timezone.now() - ORPHAN_AGE
    except (FileNotFoundError, StorageError):
        return False


def _drop_unfinished() -> None:
    try:
        SWEEP_FOUND.add("removable", number=storage.drop_unfinished(timezone.now() - ORPHAN_AGE))
    except StorageError:
        log.warning("not purged", item="unfinished objects", exc_info=True)


def _remove_old_spool(path: Path) -> None:
    if time.time() - path.stat().st_mtime > SPOOL_AGE.total_seconds():
        path.unlink(missing_ok=True)
