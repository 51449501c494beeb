"""Writes down, in the transaction of what happened, who is to be told of it."""

from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Now

from apps.api.ids import new_id
from apps.webhooks.models import Delivery, DeliveryState, EventType, WebhookEndpoint

KEEP_TRYING = timedelta(days=3)


def record(project_id: Any, event_type: EventType, batch_id: str) -> int:
    """One event, with a delivery for each endpoint that wants it; how many. One query when nobody does.

    Belongs into the transaction that makes it true, so that there is an event if, and only if, it happened.
    """
    endpoints = WebhookEndpoint.objects.subscribed(project_id, event_type).values_list("pk", flat=True)
    event_id = new_id("evt_")
    deliveries = [
        Delivery(
            endpoint_id=endpoint_id,
            event_id=event_id,
            event_type=event_type,
            batch_id=batch_id,
            created_at=Now(),
            due_at=Now(),
            give_up_at=Now() + KEEP_TRYING,
        )
        for endpoint_id in endpoints
    ]
    Delivery.objects.bulk_create(deliveries)
    return len(deliveries)


def send_again(deliveries: QuerySet[Delivery]) -> int:
    """Delivers these once more, or still, under the same webhook-id, from now on for three days; how many."""
    return deliveries.update(
        state=DeliveryState.PENDING, attempts=0, due_at=Now(), give_up_at=Now() + KEEP_TRYING, delivered_at=None
    )
