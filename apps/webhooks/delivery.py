"""Delivers what is due to one endpoint: signs, sends, and decides from what came back when to try again, or not."""

import json
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import structlog
from django.db.models import F
from django.db.models.functions import Coalesce, Least, Now

from apps.api.encryption import Undecryptable
from apps.api.ids import new_id
from apps.inference.answers import retry_after
from apps.observability import metrics
from apps.webhooks.addresses import Refused, resolve
from apps.webhooks.models import Delivery, DeliveryState, EventType, WebhookEndpoint
from apps.webhooks.post import Unanswered, post
from apps.webhooks.signing import headers_for

log = structlog.get_logger(__name__)

RUN_SECONDS = 30.0
"""After these an endpoint makes way for others; what is left is found by the next sweep."""
TAKEN = timedelta(seconds=60)
"""How long an attempt has for itself; longer than post.TOTAL_SECONDS and a slow name look-up."""
BACK_OFF_SECONDS = (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200)
"""After the first attempt, the second …; the last one from then on, until the delivery's `give_up_at`."""
JITTER = 0.1
LONGEST_RETRY_AFTER = 43_200.0
PAUSE_AFTER = 5
"""Failures in a row until the endpoint is paused; then one attempt at the end of each pause, whatever waits."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 30, 3_600
DISABLE_AFTER = timedelta(days=3)
GONE = 410


class Outcome(NamedTuple):
    """What came of an attempt. `error` is empty if there was an answer, whatever its status."""

    milliseconds: int
    status: int | None = None
    excerpt: str = ""
    error: str = ""
    wait: float | None = None
    """Seconds by `Retry-After`."""

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def kind(self) -> str:
        """How the metric calls it."""
        if self.is_success:
            return "delivered"
        return "unanswered" if self.status is None else "refused"

    @property
    def complaint(self) -> str:
        """Why it is not a success, in a sentence's second half."""
        if self.status is None:
            return self.error
        redirect = "; redirects are not followed" if 300 <= self.status < 400 else ""
        return f"answered {self.status}{redirect}"


def deliver_due(endpoint_id: str) -> None:
    """Sends the endpoint's due deliveries one after the other, oldest first, until none is due or it must not be asked.

    Two at once for the same endpoint do no harm: each delivery is taken by one guarded UPDATE.
    """
    ends = time.monotonic() + RUN_SECONDS
    while time.monotonic() < ends:
        WebhookEndpoint.objects.filter(pk=endpoint_id).update(busy_until=Now() + TAKEN)
        endpoint = WebhookEndpoint.objects.open().filter(pk=endpoint_id).first()
        delivery = _take(endpoint) if endpoint else None
        if endpoint is None or delivery is None:
            break
        _note(endpoint, delivery, attempt(endpoint, delivery))
    WebhookEndpoint.objects.filter(pk=endpoint_id).update(busy_until=None)


def attempt(endpoint: WebhookEndpoint, delivery: Delivery) -> Outcome:
    """Signs and sends, once. The secret and the address are those of now, the event and its id those of then."""
    started, now = time.monotonic(), datetime.now(UTC)
    body = _body(delivery)

    def after(**found: Any) -> Outcome:
        return Outcome(round((time.monotonic() - started) * 1000), **found)

    try:
        signed = headers_for(delivery.event_id, body, endpoint.signing_secrets(now), now)
        target = resolve(endpoint.url, delivery.attempts)
        answer = post(endpoint.url, target, body, {"Content-Type": "application/json", **signed})
    except Undecryptable:
        return after(error="the signing secret cannot be read with this SECRET_KEY: rotate it")
    except (Refused, Unanswered) as problem:
        return after(error=str(problem))
    wait = retry_after(answer.retry_after, most=LONGEST_RETRY_AFTER)
    return after(status=answer.status, excerpt=answer.excerpt, wait=wait)


def sample(endpoint: WebhookEndpoint, event_type: EventType) -> Outcome:
    """Sends an event that never happened, once and now. A success reopens the endpoint: it is there again."""
    now = datetime.now(UTC)
    event = Delivery(event_id=new_id("evt_"), event_type=event_type, batch_id="batch_test", created_at=now)
    outcome = attempt(endpoint, event)
    if outcome.is_success:
        WebhookEndpoint.objects.filter(pk=endpoint.pk).reopen()
    return outcome


def _body(delivery: Delivery) -> str:
    """The event (wire.md §9), the same text on each attempt."""
    event = {
        "id": delivery.event_id,
        "object": "event",
        "type": delivery.event_type,
        "created_at": int(delivery.created_at.timestamp()),
        "data": {"id": delivery.batch_id},
    }
    return json.dumps(event, separators=(",", ":"))


def _take(endpoint: WebhookEndpoint) -> Delivery | None:
    """The delivery that is due for longest, now this caller's for as long as TAKEN."""
    due = Delivery.objects.filter(endpoint=endpoint, state=DeliveryState.PENDING, due_at__lte=Now())
    delivery = due.order_by("due_at", "pk").first()
    if delivery is None:
        return None
    unchanged = Delivery.objects.filter(pk=delivery.pk, state=DeliveryState.PENDING, due_at=delivery.due_at)
    taken = unchanged.update(due_at=Now() + TAKEN, attempts=F("attempts") + 1, last_attempt_at=Now())
    return delivery if taken else None


def _note(endpoint: WebhookEndpoint, delivery: Delivery, outcome: Outcome) -> None:
    """Writes down and counts what came of it; the one place that learns it."""
    metrics.WEBHOOK_ATTEMPTS.add(outcome.kind)
    seen: dict[str, Any] = {
        "last_status": outcome.status,
        "last_error": "" if outcome.is_success else outcome.complaint,
        "last_excerpt": outcome.excerpt,
        "last_milliseconds": outcome.milliseconds,
    }
    told = {"endpoint_id": endpoint.pk, "event_id": delivery.event_id, "attempt": delivery.attempts + 1}
    pending = Delivery.objects.filter(pk=delivery.pk, state=DeliveryState.PENDING)
    if outcome.is_success:
        pending.update(state=DeliveryState.DELIVERED, due_at=None, delivered_at=Now(), **seen)
        log.info("webhook delivered", **told, status=outcome.status, milliseconds=outcome.milliseconds)
        _worked(endpoint)
        return
    log.warning("webhook not delivered", **told, because=outcome.complaint)
    if not pending.filter(give_up_at__lte=Now()).update(state=DeliveryState.FAILED, due_at=None, **seen):
        wait = max(_back_off(delivery.attempts), outcome.wait or 0.0)
        pending.update(due_at=Least(Now() + timedelta(seconds=wait), F("give_up_at")), **seen)
    _failed(endpoint, outcome)


def _back_off(attempts: int) -> float:
    """Seconds until the next attempt, after one that followed `attempts` others."""
    step = BACK_OFF_SECONDS[min(attempts, len(BACK_OFF_SECONDS) - 1)]
    return step * random.uniform(1 - JITTER, 1 + JITTER)


def _worked(endpoint: WebhookEndpoint) -> None:
    """The endpoint is well. If it was paused, what waits for a later attempt need wait no more."""
    if not endpoint.failures:
        return
    WebhookEndpoint.objects.filter(pk=endpoint.pk).reopen()
    if endpoint.failures >= PAUSE_AFTER:
        waiting = Delivery.objects.filter(endpoint=endpoint, state=DeliveryState.PENDING)
        waiting.filter(due_at__gt=Now()).update(due_at=Now())
        log.info("webhook endpoint is back", endpoint_id=endpoint.pk, failures=endpoint.failures)


def _failed(endpoint: WebhookEndpoint, outcome: Outcome) -> None:
    """Counts it against the endpoint: pauses it after a few in a row, disables it after three days of nothing else."""
    failures = endpoint.failures + 1
    pause = max(_pause(failures), outcome.wait or 0.0)
    rows = WebhookEndpoint.objects.filter(pk=endpoint.pk)
    rows.update(
        failures=failures,
        failing_since=Coalesce("failing_since", Now()),
        paused_until=Now() + timedelta(seconds=pause) if pause else None,
    )
    for_long = rows.filter(failing_since__lte=Now() - DISABLE_AFTER, disabled_at=None)
    if outcome.status == GONE:
        disabled = rows.filter(disabled_at=None).update(disabled_at=Now(), disabled_because="it answered 410 (Gone)")
    else:
        disabled = for_long.update(
            disabled_at=Now(), disabled_because=f"nothing came through for three days; last: {outcome.complaint}"[:200]
        )
    if disabled:
        log.warning("webhook endpoint disabled", endpoint_id=endpoint.pk, because=outcome.complaint)


def _pause(failures: int) -> float:
    """Seconds, none for the first few failures."""
    if failures < PAUSE_AFTER:
        return 0.0
    return float(min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(failures - PAUSE_AFTER, 10)))
