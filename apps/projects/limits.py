"""What a project may have at most: its own limits, or else those that the settings give every project.

What is used is never counted along: whoever owns the rows counts them when it is asked, so it cannot drift. Two
requests at once are kept apart by `hold`.
"""

from collections.abc import Collection

from django.conf import settings
from django.db import connection, models

from apps.api.errors import QuotaExceeded
from apps.observability import metrics
from apps.projects.models import Project

PATIENCE = "10s"


class Limit(models.TextChoices):
    """The limits' names on the wire; Project's columns are the same with `max_` before it."""

    REQUESTS_PER_MINUTE = "requests_per_minute", "requests in a minute"
    ENQUEUED_LINES = "enqueued_lines", "lines in batches that have not ended"
    BATCHES_IN_PROGRESS = "batches_in_progress", "batches that have not ended"
    STORED_BYTES = "stored_bytes", "bytes in stored files"
    TOKENS = "tokens", "tokens in all"
    TOKENS_THIS_MONTH = "tokens_this_month", "tokens in a calendar month (UTC)"


def most(project: Project, limit: Limit) -> int | None:
    """How much the project may have; None if there is no limit."""
    own: int | None = getattr(project, f"max_{limit.value}")
    return settings.PROJECT_LIMITS.get(limit.value) if own is None else own


def are_set(project: Project, limits: Collection[Limit]) -> bool:
    """Whether any of these limits it."""
    return any(most(project, limit) is not None for limit in limits)


def hold(project: Project) -> Project:
    """Keeps everybody else from using up the project's limits until the transaction ends; its row as it is now.

    The lock stands in nobody's way who only refers to the project, such as whoever stores a file of it. A process that
    is frozen in the middle keeps it for PATIENCE only: then Postgres ends its transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{PATIENCE}'")
    return Project.objects.select_for_update(no_key=True).get(pk=project.pk)


def refuse(project: Project, limit: Limit, *, used: int, needed: int) -> None:
    """Raises QuotaExceeded if the project has no room for `needed` more beside what is used."""
    allowed = most(project, limit)
    if allowed is None or used + needed <= allowed:
        return
    metrics.LIMIT_REFUSALS.add(limit.value)
    raise QuotaExceeded(limit.value, limit.label, used=used, limit=allowed, needed=needed)
