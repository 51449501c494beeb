"""Where a project wants its events sent, and the outbox of what is to be sent there."""

from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from apps.api.encryption import Cipher
from apps.api.ids import new_id
from apps.projects.models import Project
from apps.webhooks.addresses import MOST_URL_CHARACTERS

MOST_NAME_CHARACTERS = 200

cipher = Cipher(b"zerobatch.webhooks.signing_secret")


class EventType(models.TextChoices):
    """What there is to be told of; `batch.` and the terminal status."""

    BATCH_COMPLETED = "batch.completed"
    BATCH_FAILED = "batch.failed"
    BATCH_EXPIRED = "batch.expired"
    BATCH_CANCELLED = "batch.cancelled"


class EndpointState(StrEnum):
    """How an endpoint stands. Paused ends by itself; disabled ends when its owner or an operator says so."""

    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"


class EndpointQuerySet(models.QuerySet["WebhookEndpoint"]):
    def live(self) -> "EndpointQuerySet":
        """What a client can see."""
        return self.filter(deleted_at=None)

    def subscribed(self, project_id: Any, event_type: str) -> "EndpointQuerySet":
        """The project's that get such an event."""
        return self.live().filter(project=project_id, disabled_at=None, event_types__contains=[event_type])

    def open(self) -> "EndpointQuerySet":
        """To which we may send now."""
        not_paused = Q(paused_until=None) | Q(paused_until__lte=Now())
        return self.live().filter(not_paused, disabled_at=None, project__enabled=True)

    def reopen(self) -> int:
        """Forgets all failures, so that what waits is sent from now on, what is overdue at once; how many."""
        return self.update(failures=0, failing_since=None, paused_until=None, disabled_at=None, disabled_because="")


class WebhookEndpoint(models.Model):
    """A URL that gets a project's events.

    Its secrets are in the database as Fernet tokens only. `failures` counts attempts in a row, of any delivery, that
    failed: `delivery.py` pauses the endpoint, and at last disables it. A deleted one keeps its row for a day, so that a
    batch that ends in this moment can still write its outbox.
    """

    id = models.CharField(primary_key=True, max_length=80, default=partial(new_id, "we_"), editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="webhook_endpoints", db_index=False)
    name = models.CharField(max_length=MOST_NAME_CHARACTERS)
    url = models.CharField("URL", max_length=MOST_URL_CHARACTERS)
    event_types = models.JSONField()
    secret_encrypted = models.TextField(editable=False)
    secret_hint = models.CharField(max_length=20)
    previous_secret_encrypted = models.TextField(blank=True, editable=False)
    previous_secret_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    deleted_at = models.DateTimeField(null=True)
    failures = models.PositiveIntegerField(default=0, help_text="attempts in a row that failed")
    failing_since = models.DateTimeField(null=True)
    paused_until = models.DateTimeField(null=True)
    disabled_at = models.DateTimeField(null=True)
    disabled_because = models.CharField(max_length=200, blank=True)
    busy_until = models.DateTimeField(null=True, help_text="a worker sends to it, or was told to")

    objects = EndpointQuerySet.as_manager()

    class Meta:
        indexes = (models.Index(fields=["project", "-created_at", "-id"], name="endpoint_newest_first"),)

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"

    @property
    def state(self) -> EndpointState:
        if self.disabled_at is not None:
            return EndpointState.DISABLED
        is_paused = self.paused_until is not None and self.paused_until > timezone.now()
        return EndpointState.PAUSED if is_paused else EndpointState.ACTIVE

    @property
    def state_reason(self) -> str | None:
        """Why it is not active, in words for people."""
        match self.state:
            case EndpointState.DISABLED:
                return self.disabled_because
            case EndpointState.PAUSED:
                return f"attempts in a row that failed: {self.failures}"
        return None

    def shown(self) -> dict[str, Any]:
        """What the audit says of an endpoint: of the URL only where it leads, for the rest of it may be a secret."""
        parts = urlsplit(self.url)
        told = {name: getattr(self, name) for name in ("name", "event_types", "disabled_at")}
        return {**told, "url": f"{parts.scheme}://{parts.netloc}/…"}

    def signing_secrets(self, now: datetime) -> list[str]:
        """Those that a receiver may verify with, the present one first. Raises Undecryptable."""
        tokens = [self.secret_encrypted]
        if self.previous_secret_until is not None and self.previous_secret_until > now:
            tokens.append(self.previous_secret_encrypted)
        return [cipher.decrypt(token) for token in tokens]


class DeliveryState(models.TextChoices):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Delivery(models.Model):
    """One event for one endpoint: written when the event happens, in its transaction, and kept as the log.

    pending → delivered when the endpoint answers 2xx; pending → failed when it did not until `give_up_at`, or is gone;
    back to pending when an operator says so. `due_at` is when it is tried next; only pending ones have it. Who tries
    it moves that ahead first, so that a worker that dies costs a minute, and an event is sent twice rather than never.
    """

    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    event_id = models.CharField(max_length=80)
    event_type = models.CharField(max_length=40, choices=EventType)
    batch_id = models.CharField(max_length=80)
    created_at = models.DateTimeField(default=timezone.now)
    state = models.CharField(max_length=10, choices=DeliveryState, default=DeliveryState.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField(null=True)
    give_up_at = models.DateTimeField()
    delivered_at = models.DateTimeField(null=True)
    last_attempt_at = models.DateTimeField(null=True)
    last_status = models.PositiveIntegerField(null=True, help_text="what the endpoint answered")
    last_error = models.CharField(max_length=200, blank=True)
    last_excerpt = models.CharField(max_length=300, blank=True, help_text="the beginning of the answer")
    last_milliseconds = models.PositiveIntegerField(null=True)

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = (
            models.UniqueConstraint(fields=["endpoint", "event_id"], name="delivery_once_per_endpoint"),
            models.CheckConstraint(
                condition=Q(state="pending", due_at__isnull=False) | (~Q(state="pending") & Q(due_at=None)),
                name="delivery_due_if_pending",
            ),
        )
        indexes = (
            models.Index(fields=["endpoint", "due_at"], condition=Q(state="pending"), name="delivery_due"),
            models.Index(F("created_at").desc(), F("id").desc(), name="delivery_newest_first"),
        )

    def __str__(self) -> str:
        return f"{self.event_id} to {self.endpoint_id}"
