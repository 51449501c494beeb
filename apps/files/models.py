"""Rows that name bytes in the object storage: a File, and an Upload that becomes one."""

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
            # What a project stores; read from the index alone, and without all that was removed long ago.
            models.Index(
                fields=["project"], include=["bytes"], condition=Q(object_removed_at=None), name="file_stored_bytes"
            ),
        )

    def __str__(self) -> str:
        return self.id


class UploadStatus(models.TextChoices):
    PENDING = "pending"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class UploadQuerySet(models.QuerySet["Upload"]):
    def open(self) -> "UploadQuerySet":
        """What still takes parts, and may be completed or cancelled."""
        return self.filter(status=UploadStatus.PENDING, expires_at__gt=Now())

    def overdue(self) -> "UploadQuerySet":
        """Past their hour, and not marked as expired yet."""
        return self.filter(status=UploadStatus.PENDING, expires_at__lte=Now())


class Upload(models.Model):
    """A file on its way in parts (wire.md §5).

    pending → completed (its File is registered in the same transaction) | cancelled | expired; each by one UPDATE in
    in_parts.py, guarded by `open()` or `overdue()`, so that one of two that come at once is refused. One past
    `expires_at` behaves as expired, whatever its status says. The row stays for audit.
    """

    id = models.CharField(primary_key=True, max_length=80, default=partial(new_id, "upload_"), editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="uploads")
    filename = models.TextField()
    bytes = models.BigIntegerField(help_text="as announced; the file must have as many")
    file_expires_after = models.PositiveIntegerField(null=True, help_text="seconds")
    status = models.CharField(max_length=20, choices=UploadStatus, default=UploadStatus.PENDING)
    file = models.OneToOneField(File, on_delete=models.SET_NULL, null=True, related_name="+")
    part_count = models.PositiveIntegerField(default=0)
    received_bytes = models.BigIntegerField(default=0, help_text="in all parts, those sent twice included")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    objects = UploadQuerySet.as_manager()

    class Meta:
        indexes = (
            models.Index(fields=["expires_at"], condition=Q(status=UploadStatus.PENDING), name="upload_pending"),
        )

    def __str__(self) -> str:
        return self.id

    @property
    def status_now(self) -> str:
        """Its status; expired from the moment on that it is, not from when a sweep says so."""
        is_over = self.status == UploadStatus.PENDING and self.expires_at <= timezone.now()
        return UploadStatus.EXPIRED.value if is_over else self.status


class UploadPart(models.Model):
    """One part of an upload. The row is written after its object and removed after it; an ended upload has none."""

    id = models.CharField(primary_key=True, max_length=80, default=partial(new_id, "part_"), editable=False)
    upload = models.ForeignKey(Upload, on_delete=models.CASCADE, related_name="parts")
    bytes = models.BigIntegerField()
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.id


def expiry(created_at: Any, seconds: int | None) -> Any:
    """When a file made at `created_at` ends: after `seconds`, or after the retention of wire.md §3."""
    kept = timedelta(seconds=seconds) if seconds else timedelta(days=settings.FILE_RETENTION_DAYS)
    return created_at + kept
