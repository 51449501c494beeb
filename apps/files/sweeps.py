"""Removes bytes that nobody can ask for any more; safe to run in any number of processes at once."""

import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import structlog
from django.conf import settings
from django.core.files.storage import default_storage
from django.utils import timezone

from apps.api.errors import StorageError
from apps.files import storage, uploads
from apps.files.models import File
from apps.observability.metrics import SWEEP_FOUND

log = structlog.get_logger(__name__)

ORPHAN_AGE = timedelta(hours=24)
"""An object this young may belong to an upload whose row is about to be written, also if two clocks differ by hours."""
SPOOL_AGE = timedelta(hours=24)
MOST_AT_ONCE = 1_000

Item = TypeVar("Item")


def purge() -> None:
    """Removes the objects of deleted and expired files, objects without a row, and spools of processes that died."""
    each(uploads.remove_if_unread, _removable())
    each(storage.remove, _orphans())
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


def _orphans() -> list[str]:
    """Keys of uploads that were stored but never registered, because a crash came between."""
    names = storage.names_in(storage.UPLOADS)
    ids = [name.removesuffix(".jsonl") for name in names]
    known: set[str] = set()
    for start in range(0, len(ids), MOST_AT_ONCE):
        known.update(File.objects.filter(pk__in=ids[start : start + MOST_AT_ONCE]).values_list("pk", flat=True))
    oldest = timezone.now() - ORPHAN_AGE
    keys = (storage.upload_key(file_id) for file_id in ids if file_id not in known)
    return [key for key in keys if default_storage.get_modified_time(key) < oldest]


def _remove_old_spool(path: Path) -> None:
    if time.time() - path.stat().st_mtime > SPOOL_AGE.total_seconds():
        path.unlink(missing_ok=True)
