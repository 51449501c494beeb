"""What a project's files use of its limit, counted from the rows themselves, so that it cannot drift."""

from django.db import connection

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
    """Bytes of all files that are still stored, and of uploads under way: announced or received, whichever is more.

    One statement, for an upload that becomes a file between two would be in neither.
    """
    with connection.cursor() as cursor:
        cursor.execute(STORED, {"project": project.pk})
        (stored,) = cursor.fetchone()
        return int(stored)


STORED = """
SELECT (SELECT coalesce(sum(bytes), 0) FROM files_file WHERE project_id = %(project)s AND object_removed_at IS NULL)
     + (SELECT coalesce(sum(greatest(bytes, received_bytes)), 0) FROM files_upload
         WHERE project_id = %(project)s AND status = 'pending')
"""
