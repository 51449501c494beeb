"""Finds endpoints with something to deliver, and what need not be kept any longer; safe to run any time."""

from collections import Counter
from datetime import timedelta

import structlog
from django.conf import settings
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from apps.webhooks.delivery import TAKEN
from apps.webhooks.models import Delivery, DeliveryState, WebhookEndpoint

log = structlog.get_logger(__name__)

MOST_AT_ONCE = 1_000
MOST_PURGED = 50_000
OVERDUE = timedelta(hours=2)
"""What is pending so long after its `give_up_at` belongs to an endpoint that is paused or disabled."""
DELETED_FOR = timedelta(days=1)


def due() -> list[str]:
    """Endpoints to which something is to be sent and nobody sends; they count as busy from now on.

    Each project's first comes before any project's second: one with many slow endpoints holds up no other's one.
    """
    waiting = Delivery.objects.filter(endpoint=OuterRef("pk"), state=DeliveryState.PENDING, due_at__lte=Now())
    idle = Q(busy_until=None) | Q(busy_until__lt=Now())
    found = WebhookEndpoint.objects.open().filter(Exists(waiting), idle).order_by("pk")
    seen: Counter[object] = Counter()
    turns = []
    for endpoint_id, project_id in found.values_list("pk", "project_id")[:MOST_AT_ONCE]:
        turns.append((seen[project_id], endpoint_id))
        seen[project_id] += 1
    endpoint_ids = [endpoint_id for _, endpoint_id in sorted(turns)]
    # Should the messages be lost, these are found again when they count as busy no more.
    WebhookEndpoint.objects.filter(pk__in=endpoint_ids).update(busy_until=Now() + TAKEN)
    return endpoint_ids


def purge() -> None:
    """Gives up what can no longer be delivered, and forgets old deliveries and deleted endpoints."""
    pending = Delivery.objects.filter(state=DeliveryState.PENDING, give_up_at__lt=Now() - OVERDUE)
    given_up = pending.update(
        state=DeliveryState.FAILED, due_at=None, last_error="given up: the endpoint was paused or disabled"
    )
    kept = timedelta(days=settings.WEBHOOK_RETENTION_DAYS)
    old = Delivery.objects.exclude(state=DeliveryState.PENDING).filter(created_at__lt=Now() - kept)
    Delivery.objects.filter(pk__in=old.values("pk")[:MOST_PURGED]).delete()
    WebhookEndpoint.objects.filter(deleted_at__lt=Now() - DELETED_FOR).delete()
    if given_up:
        log.warning("webhooks given up", deliveries=given_up)
