"""A File: a row that names bytes in the object storage."""

from datetime import timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from apps.api.ids import new_id
from apps.projects.models import Project


class Purpose(models.TextChoices):
    BATCH = "batch"
    BATCH_OUTPUT = "batch_output"


class FileQuerySet(models.QuerySet["File"]):
    def live(self) -> "FileQuerySet":
        """Neither deleted nor past its expiry: what a client can see."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=Now()), deleted_at=None)

    def ended(self) -> "FileQuerySet":
        """The others: deleted, or past their expiry."""
        return self.filter(Q(deleted_at__isnull=False) | Q(expires_at__lte=Now()))


class File(models.Model):
    """One uploaded or produced file.

    The row is written after its object is stored, so a File always has its bytes. A deleted File keeps its row for
    audit; `object_removed_at` tells that the bytes are gone too (they wait while a running batch still reads them).
    """

    id = models.CharField(primary_key=True, max_length=80, default=partial(new_id, "file-"), editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="files")
    filename = models.TextField()
    purpose = models.CharField(max_length=20, choices=Purpose)
    is_error = models.BooleanField(default=False)
    bytes = models.BigIntegerField()
    object_key = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(null=True)
    object_removed_at = models.DateTimeField(null=True)
    readers = models.PositiveIntegerField(default=0, help_text="Unfinished batches that still read the bytes.")

    objects = FileQuerySet.as_manager()

    class Meta:
        indexes = (
            models.Index(fields=["project", "-created_at", "-id"], name="file_newest_first"),
            models.Index(fields=["-created_at", "-id"], name="file_newest_of_all"),  # the admin's list
        )

    def __str__(self) -> str:
        return self.id


def expiry(created_at: Any, seconds: int | None) -> Any:
    """When a file made at `created_at` ends: after `seconds`, or after the retention of wire.md §3."""
    kept = timedelta(seconds=seconds) if seconds else timedelta(days=settings.FILE_RETENTION_DAYS)
    return created_at + kept
