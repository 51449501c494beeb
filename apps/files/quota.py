"""What a project's files use of its limit, counted from the rows themselves, so that it cannot drift."""

from django.db.models import Sum

from apps.files.models import File, Upload
from apps.projects import limits
from apps.projects.limits import Limit
from apps.projects.models import Project


def admit(project: Project, more: int) -> None:
    """Raises QuotaExceeded if the project has no room for so many bytes more.

    Belongs into the transaction that registers them: until it ends, nobody else is admitted. Results of batches ask
    nobody, for they are paid for; while they take up too much, nothing can be uploaded.
    """
    if limits.are_set(project, [Limit.STORED_BYTES]):
        project = limits.hold(project)
        limits.refuse(project, Limit.STORED_BYTES, used=stored_bytes(project), needed=more)


def stored_bytes(project: Project) -> int:
    """Bytes of all files that are still stored, and of uploads under way, as they were announced."""
    stored = File.objects.filter(project=project, object_removed_at=None).aggregate(bytes=Sum("bytes"))["bytes"]
    announced = Upload.objects.open().filter(project=project).aggregate(bytes=Sum("bytes"))["bytes"]
    return int(stored or 0) + int(announced or 0)
