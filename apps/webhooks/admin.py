"""Endpoints and the log of deliveries in the admin, to look at, to switch and to send again."""

from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest

from apps.api.admin import LookOnlyAdmin, Question, asking_first
from apps.projects import audit
from apps.webhooks import outbox
from apps.webhooks.models import Delivery, DeliveryState, EndpointQuerySet, WebhookEndpoint


def _ask_to_disable(_: Any, __: HttpRequest, rows: QuerySet[Any]) -> Question:
    active = rows.filter(disabled_at=None)
    waiting = Delivery.objects.filter(endpoint__in=active, state=DeliveryState.PENDING).count()
    happens = [
        f"{active.count()} of {rows.count()} are enabled now.",
        f"{waiting} events wait for them: these are sent if an endpoint is enabled within three days of the event.",
        "Events from now on are not noted for them, and will never be sent.",
    ]
    return Question("Disable these endpoints?", happens, "Disable")


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(LookOnlyAdmin):
    """Created and changed through the API only, by whoever gets the secret."""

    list_display = ("name", "id", "project", "url", "state", "state_reason", "failures", "created_at")
    list_select_related = ("project",)
    search_fields = ("id", "name", "url", "project__name")
    actions = ("enable", "disable")

    def get_queryset(self, request: HttpRequest) -> "QuerySet[WebhookEndpoint]":
        return WebhookEndpoint.objects.live().order_by("-created_at")

    def has_switch_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("webhooks.change_webhookendpoint")

    @admin.action(description="Enable: send what waits, from now on", permissions=["switch"])
    def enable(self, request: HttpRequest, rows: EndpointQuerySet) -> None:
        chosen = list(rows)
        with transaction.atomic():
            rows.reopen()
            self._note(request, chosen, "enabled")
        self.message_user(request, f"{len(chosen)} endpoints enabled.")

    @admin.action(description="Disable: send nothing, and note no new events", permissions=["switch"])
    @asking_first(_ask_to_disable)
    def disable(self, request: HttpRequest, rows: EndpointQuerySet) -> None:
        active = list(rows.filter(disabled_at=None))
        with transaction.atomic():
            rows.filter(disabled_at=None).update(disabled_at=Now(), disabled_because="an operator disabled it")
            self._note(request, active, "disabled")
        self.message_user(request, f"{len(active)} endpoints disabled.")

    def _note(self, request: HttpRequest, rows: list[WebhookEndpoint], verb: str) -> None:
        now = WebhookEndpoint.objects.in_bulk([row.pk for row in rows])
        for row in rows:
            self.log_change(request, row, f"{verb.capitalize()}.")
            changes = {"before": row.shown(), "after": now[row.pk].shown()}
            audit.record(f"webhook_endpoint.{verb}", row.project_id, row.pk, **changes)


@admin.register(Delivery)
class DeliveryAdmin(LookOnlyAdmin):
    """The delivery log."""

    list_display = (
        "event_id",
        "event_type",
        "batch_id",
        "endpoint",
        "state",
        "attempts",
        "due_at",
        "last_status",
        "last_error",
        "created_at",
    )
    list_select_related = ("endpoint",)
    list_filter = ("state", "event_type")
    search_fields = ("event_id", "batch_id", "endpoint__id")
    ordering = ("-created_at", "-id")
    actions = ("send_again",)

    def has_redeliver_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("webhooks.change_delivery")

    @admin.action(description="Send again, with the same webhook-id", permissions=["redeliver"])
    def send_again(self, request: HttpRequest, rows: QuerySet[Any]) -> None:
        reachable = rows.filter(endpoint__deleted_at=None)
        for row in reachable:
            self.log_change(request, row, "Sent again.")
        left = rows.count() - (sent := outbox.send_again(reachable))
        self.message_user(request, f"{sent} deliveries are sent within seconds, or once their endpoint is active.")
        if left:
            self.message_user(request, f"{left} were left alone: their endpoint is deleted.", messages.WARNING)
