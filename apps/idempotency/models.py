"""What requests with an Idempotency-Key have made."""

from datetime import timedelta

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from apps.projects.models import Project

KEPT_FOR = timedelta(hours=24)


class IdempotencyKeyQuerySet(models.QuerySet["IdempotencyKey"]):
    def old(self) -> "IdempotencyKeyQuerySet":
        """Those whose day is over: as if they had never been."""
        return self.filter(created_at__lte=Now() - KEPT_FOR)

    def free(self) -> "IdempotencyKeyQuerySet":
        """Those that a request may take over: old ones, and those of a request that died, or takes too long."""
        return self.old() | self.filter(Q(object_id=""), claimed_until__lte=Now())


class IdempotencyKey(models.Model):
    """One project's key: in flight while `object_id` is empty and the claim lasts, done when it names an object.

    `object_id` is written in the transaction that creates the object, guarded by `owner`: who lost the claim creates
    nothing. No session's state is involved (no advisory lock), so a pooler that shares sessions does no harm.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=255)
    owner = models.CharField(max_length=32, help_text="the request that has claimed it")
    claimed_until = models.DateTimeField()
    fingerprint = models.CharField(max_length=64, blank=True, help_text="SHA-256 of what was asked for")
    object_id = models.CharField(max_length=80, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = IdempotencyKeyQuerySet.as_manager()

    class Meta:
        constraints = (models.UniqueConstraint(fields=["project", "key"], name="idempotency_key_once"),)
        indexes = (models.Index(fields=["created_at"], name="idempotency_key_oldest"),)

    def __str__(self) -> str:
        return self.key
