"""Webhooks: endpoints, made with their secret shown once, and what was delivered to them."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST

from apps.api.errors import ApiError, NotFound
from apps.console.access import Viewer
from apps.console.pages import page, show
from apps.webhooks import endpoints, outbox
from apps.webhooks.models import Delivery, EventType, WebhookEndpoint
from apps.webhooks.serializers import parse_create, parse_event_type

MOST_DELIVERIES = 50
MOST_DIGITS = 18


@require_http_methods(["GET", "HEAD", "POST"])
@page
def webhooks(request: HttpRequest, viewer: Viewer) -> HttpResponseBase:
    """A new endpoint's secret is in the answer to the POST and nowhere else, so this one does not redirect."""
    if request.method != "POST":
        return _show(request, viewer)
    sent = {**request.POST.dict(), "event_types": request.POST.getlist("event_types")}
    try:
        _, secret = endpoints.create(viewer.project, parse_create(sent))
    except ApiError as refused:
        return _show(request, viewer, problem=refused.message, sent=sent)
    return _show(request, viewer, secret=secret)


@require_POST
@page
def rotate(request: HttpRequest, viewer: Viewer, endpoint_id: str) -> HttpResponseBase:
    endpoint = endpoints.find(viewer.project, endpoint_id)
    secret = endpoints.rotate_secret(endpoint, keep_old=request.POST.get("keep") == "yes")
    return _show(request, viewer, secret=secret)


@require_POST
@page
def test(request: HttpRequest, viewer: Viewer, endpoint_id: str) -> HttpResponseBase:
    endpoint = endpoints.find(viewer.project, endpoint_id)
    try:
        status = endpoints.test(endpoint, parse_event_type(endpoint.event_types[0]))
    except ApiError as refused:
        messages.error(request, f"{endpoint.name}: {refused.message}.")
    else:
        tell = messages.success if 200 <= status < 300 else messages.warning
        tell(request, f"{endpoint.name} answered {status} to a sample event.")
    return redirect("console:webhooks")


@require_POST
@page
def delete(request: HttpRequest, viewer: Viewer, endpoint_id: str) -> HttpResponseBase:
    endpoint = endpoints.find(viewer.project, endpoint_id)
    endpoints.delete(endpoint)
    messages.success(request, f"{endpoint.name} is deleted.")
    return redirect("console:webhooks")


@require_POST
@page
def send_again(request: HttpRequest, viewer: Viewer, delivery_id: str) -> HttpResponseBase:
    is_id = delivery_id.isascii() and delivery_id.isdigit() and len(delivery_id) <= MOST_DIGITS
    if not is_id or not outbox.send_again(_deliveries(viewer).filter(pk=delivery_id)):
        raise NotFound("There is no such delivery")
    messages.success(request, "It is sent again within seconds, or once its endpoint is active.")
    return redirect("console:webhooks")


def _deliveries(viewer: Viewer) -> Any:
    mine = WebhookEndpoint.objects.live().filter(project=viewer.project)
    return Delivery.objects.filter(endpoint__in=mine)


def _show(request: HttpRequest, viewer: Viewer, **context: Any) -> HttpResponseBase:
    return show(
        request,
        viewer,
        "webhooks",
        rows=WebhookEndpoint.objects.live().filter(project=viewer.project).order_by("-created_at"),
        deliveries=_deliveries(viewer).select_related("endpoint").order_by("-created_at", "-pk")[:MOST_DELIVERIES],
        event_types=EventType.values,
        **context,
    )
