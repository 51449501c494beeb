"""Removes bytes that nobody can ask for any more; safe to run in any number of processes at once."""

import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import structlog
from django.conf import settings
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
    each(storage.remove, _orphans(storage.UPLOADS, ".jsonl", File))
    each(storage.remove, _orphans(storage.PARTS, ".part", UploadPart))
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


def _orphans(folder: str, suffix: str, rows: type[File] | type[UploadPart]) -> list[str]:
    """Keys of what was stored but never registered, because a crash came between."""
    ids = [name.removesuffix(suffix) for name in storage.names_in(folder)]
    known: set[str] = set()
    for start in range(0, len(ids), MOST_AT_ONCE):
        known.update(
            rows._default_manager.filter(pk__in=ids[start : start + MOST_AT_ONCE]).values_list("pk", flat=True)
        )
    keys = (f"{folder}/{each_id}{suffix}" for each_id in ids if each_id not in known)
    return [key for key in keys if _is_old(key)]


def _is_old(key: str) -> bool:
    """False also of what has gone meanwhile, or cannot be looked at."""
    try:
        return storage.modified_at(key) < timezone.now() - ORPHAN_AGE
    except (FileNotFoundError, StorageError):
        return False


def _remove_old_spool(path: Path) -> None:
    if time.time() - path.stat().st_mtime > SPOOL_AGE.total_seconds():
        path.unlink(missing_ok=True)
