"""The files and uploads of a project that is erased: objects first, so that a crash leaves rows that tell of them."""

from typing import Any, NamedTuple

from django.db.models.functions import Now

from apps.files import in_parts, storage
from apps.files.models import File, Upload, UploadPart, UploadStatus

MOST_AT_ONCE = 1_000
MOST_LOOKED_FOR = 20


class Removed(NamedTuple):
    """How many of each were removed."""

    files: int
    uploads: int
    objects: int


def are_elsewhere(project_id: Any) -> bool:
    """The project has objects, and none that was looked for is here: this is another storage. Raises StorageError."""
    there = File.objects.filter(project=project_id, object_removed_at=None).order_by("-created_at")
    keys = list(there.values_list("object_key", flat=True)[:MOST_LOOKED_FOR])
    return bool(keys) and not any(map(storage.exists, keys))


def end_uploads(project_id: Any) -> None:
    """Nothing more is taken for any of them; who is just registering a part comes before this, or is refused."""
    open_ones = Upload.objects.filter(project=project_id, status=UploadStatus.PENDING)
    open_ones.update(status=UploadStatus.CANCELLED, ended_at=Now())


def remove_all(project_id: Any) -> Removed:
    """Removes all that no batch needs any more. Raises StorageError; may be repeated."""
    parts = UploadPart.objects.filter(upload__project=project_id).exclude(upload__status=UploadStatus.PENDING)
    part_ids = list(parts.values_list("pk", flat=True))
    for part_id in part_ids:
        in_parts.remove_part(part_id)
    ended = Upload.objects.filter(project=project_id).exclude(status=UploadStatus.PENDING)
    uploads, _ = ended.delete()
    files = objects = 0
    while some := list(File.objects.filter(project=project_id, readers=0)[:MOST_AT_ONCE]):
        for stored in some:
            if stored.object_removed_at is None:
                storage.remove(stored.object_key)
                mark_removed(stored.pk)
                objects += 1
        File.objects.filter(pk__in=[stored.pk for stored in some]).delete()
        files += len(some)
    return Removed(files, uploads, len(part_ids) + objects)


def mark_removed(*file_ids: str | None) -> None:
    """Their objects are gone: a row that does not say so has one."""
    File.objects.filter(pk__in=file_ids).update(object_removed_at=Now())
