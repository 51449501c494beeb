"""What a project does with its endpoints: create, find, change, rotate the secret, try, delete."""

from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from apps.api.errors import Conflict, InvalidRequest, NotFound
from apps.api.ids import is_wellformed
from apps.projects import audit, rates
from apps.projects.models import Project
from apps.webhooks import delivery
from apps.webhooks.addresses import Refused, resolve
from apps.webhooks.models import Delivery, DeliveryState, EventType, WebhookEndpoint, cipher
from apps.webhooks.signing import hint_of, new_secret

log = structlog.get_logger(__name__)

KEPT_ACTIVE = timedelta(hours=24)
MOST_TESTS = 20
"""In a minute, by all of a project."""


def create(project: Project, wanted: dict[str, Any]) -> tuple[WebhookEndpoint, str]:
    """A new endpoint, and its signing secret, which cannot be had again. `wanted`: name, url, event_types.

    Raises InvalidRequest: `invalid_url`, or `too_many_webhook_endpoints`.
    """
    if WebhookEndpoint.objects.live().filter(project=project).count() >= settings.MAX_WEBHOOK_ENDPOINTS:
        raise InvalidRequest(
            f"A project has at most {settings.MAX_WEBHOOK_ENDPOINTS} webhook endpoints",
            code="too_many_webhook_endpoints",
        )
    _check(wanted["url"])
    secret = new_secret()
    endpoint = WebhookEndpoint(project=project, **wanted, **_stored(secret))
    endpoint.updated_at = endpoint.created_at
    with transaction.atomic():
        endpoint.save(force_insert=True)
        audit.record("webhook_endpoint.created", project.pk, endpoint.pk, after=endpoint.shown())
    log.info("webhook endpoint created", endpoint_id=endpoint.pk)
    return endpoint, secret


def find(project: Project, endpoint_id: str, *, param: str = "webhook_endpoint_id") -> WebhookEndpoint:
    """The project's endpoint. Raises NotFound, alike for another project's, a deleted one and none at all."""
    rows = WebhookEndpoint.objects.live().filter(project=project, pk=endpoint_id)
    found = rows.first() if is_wellformed(endpoint_id) else None
    if found is None:
        raise NotFound(
            f"Webhook endpoint not found: {endpoint_id[:100]}", code="webhook_endpoint_not_found", param=param
        )
    return found


def update(endpoint: WebhookEndpoint, wanted: dict[str, Any]) -> None:
    """Changes what is in `wanted`: name, url, event_types. Whatever it is, the endpoint gets another chance.

    Raises InvalidRequest `invalid_url`.
    """
    changed = {name: value for name, value in wanted.items() if getattr(endpoint, name) != value}
    if "url" in changed:
        _check(changed["url"])
    rows = WebhookEndpoint.objects.filter(pk=endpoint.pk)
    with transaction.atomic():
        before = endpoint.shown()
        if changed:
            rows.update(**changed, updated_at=Now())
        rows.reopen()
        endpoint.refresh_from_db()
        # Where in the host it leads may be a secret, so of that only is said that it is another place.
        after = endpoint.shown() | ({"url": f"{endpoint.shown()['url']} (changed)"} if "url" in changed else {})
        audit.record("webhook_endpoint.updated", endpoint.project_id, endpoint.pk, before=before, after=after)


def rotate_secret(endpoint: WebhookEndpoint, *, keep_old: bool) -> str:
    """The endpoint's new secret, which cannot be had again. The old one signs too for 24 hours, or no more at all.

    Only one old secret is kept: a second rotation ends the one before. Raises Conflict if two rotate at once.
    """
    secret = new_secret()
    previous = {
        "previous_secret_encrypted": endpoint.secret_encrypted if keep_old else "",
        "previous_secret_until": Now() + KEPT_ACTIVE if keep_old else None,
    }
    unchanged = WebhookEndpoint.objects.filter(pk=endpoint.pk, secret_encrypted=endpoint.secret_encrypted)
    with transaction.atomic():
        if not unchanged.update(**_stored(secret), **previous, updated_at=Now()):
            raise Conflict("The secret was rotated at the same moment; try again", code="secret_rotated")
        kept = {"old_secret_kept": keep_old}
        audit.record("webhook_endpoint.secret_rotated", endpoint.project_id, endpoint.pk, after=kept)
    log.info("webhook secret rotated", endpoint_id=endpoint.pk, keep_old=keep_old)
    return secret


def test(endpoint: WebhookEndpoint, event_type: EventType) -> int:
    """Sends a sample event now; the status that came back.

    Raises InvalidRequest `webhook_test_failed` if none did, and RateLimited: an endpoint that is slow keeps a thread of
    the web for as long as it may take.
    """
    rates.refuse_above(endpoint.project, "tests of webhook endpoints", MOST_TESTS)
    outcome = delivery.sample(endpoint, event_type)
    if outcome.status is None:
        raise InvalidRequest(f"The endpoint gave no answer: {outcome.error}", code="webhook_test_failed")
    return outcome.status


def delete(endpoint: WebhookEndpoint) -> None:
    """404 from now on; nothing more is sent to it, and its secrets are gone."""
    with transaction.atomic():
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(
            deleted_at=Now(), secret_encrypted="", previous_secret_encrypted="", previous_secret_until=None
        )
        pending = Delivery.objects.filter(endpoint=endpoint, state=DeliveryState.PENDING)
        pending.update(state=DeliveryState.FAILED, due_at=None, last_error="the endpoint was deleted")
        audit.record("webhook_endpoint.deleted", endpoint.project_id, endpoint.pk, before=endpoint.shown())
    log.info("webhook endpoint deleted", endpoint_id=endpoint.pk)


def _check(url: str) -> None:
    try:
        resolve(url)
    except Refused as refused:
        raise InvalidRequest(str(refused), code="invalid_url", param="url") from None


def _stored(secret: str) -> dict[str, str]:
    return {"secret_encrypted": cipher.encrypt(secret), "secret_hint": hint_of(secret)}
