"""Webhooks: the endpoints' API, the outbox, and what becomes of a delivery."""

import io
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone
from openai import OpenAI

from apps.batches import lifecycle
from apps.batches.states import TERMINAL, BatchStatus
from apps.webhooks import delivery, outbox, sweeps
from apps.webhooks.endpoints import MOST_TESTS
from apps.webhooks.models import Delivery, EventType, WebhookEndpoint, cipher
from tests.conftest import Person, create_batch, error_of, line, uploaded
from tests.fakes.receiver import Received, Receiver
from tests.integration.conftest import new_batch

pytestmark = pytest.mark.django_db

WHOLE = {"name": "n", "url": "https://8.8.8.8/hooks", "event_types": list(EventType.values)}
SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{43}=")
ONE_SECOND = timedelta(seconds=1)


def create(person: Person, **changes: Any) -> Any:
    """POST /v1/webhook_endpoints; the response."""
    return person.client.post("/v1/webhook_endpoints", WHOLE | changes, format="json")


def endpoint_of(person: Person, **changes: Any) -> WebhookEndpoint:
    """An endpoint that is there, whatever its URL."""
    secret = {"secret_encrypted": cipher.encrypt("whsec_c2VjcmV0"), "secret_hint": "whsec_…"}
    return WebhookEndpoint.objects.create(project=person.project, **(WHOLE | secret | changes))


def happen(person: Person, event_type: EventType = EventType.BATCH_COMPLETED) -> Delivery:
    """An event, and the last delivery that comes of it."""
    outbox.record(person.project.pk, event_type, "batch_x")
    return Delivery.objects.latest("pk")


def deliver(endpoint: WebhookEndpoint) -> None:
    """As the sweep and the worker would."""
    for endpoint_id in sweeps.due():
        delivery.deliver_due(endpoint_id)
    endpoint.refresh_from_db()


def time_passes(by: timedelta) -> None:
    """Whatever was to happen, happens so much sooner."""
    WebhookEndpoint.objects.update(failing_since=F("failing_since") - by, paused_until=F("paused_until") - by)
    Delivery.objects.update(due_at=F("due_at") - by, give_up_at=F("give_up_at") - by)


def seconds_until_due() -> float:
    due_at = Delivery.objects.get().due_at
    assert due_at is not None
    return (due_at - timezone.now()).total_seconds()


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
    running = Receiver()
    with running.listening():
        yield running


@pytest.fixture
def endpoint(alice: Person, receiver: Receiver) -> WebhookEndpoint:
    return endpoint_of(alice, url=receiver.url)


def test_the_secret_is_shown_when_it_is_made_and_never_again(alice: Person) -> None:
    created = create(alice).json()
    path = f"/v1/webhook_endpoints/{created['id']}"
    rotated = alice.client.post(f"{path}/rotate_secret").json()

    assert SECRET.fullmatch(created["signing_secret"])
    assert SECRET.fullmatch(rotated["signing_secret"])
    assert created["signing_secret"] != rotated["signing_secret"]
    shown = alice.client.get(path).json()
    assert shown == {name: value for name, value in rotated.items() if name != "signing_secret"}
    assert shown["signing_secret_hint"] == "whsec_…" + rotated["signing_secret"][-5:-1]
    stored = json.dumps(WebhookEndpoint.objects.values().get(), default=str)
    assert created["signing_secret"][6:] not in stored
    assert rotated["signing_secret"][6:] not in stored


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"name": None}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"url": None}, "url"),
        ({"url": "https://8.8.8.8/" + "x" * 2_000}, "url"),
        ({"event_types": []}, "event_types"),
        ({"event_types": "batch.completed"}, "event_types"),
        ({"event_types": ["batch.completed", "response.completed"]}, "event_types[1]"),
        ({"event_types": [["batch.completed"]]}, "event_types[0]"),
    ],
)
def test_what_cannot_be_stored_is_refused_on_create_and_update(alice: Person, changes: Any, param: str) -> None:
    path = f"/v1/webhook_endpoints/{endpoint_of(alice).pk}"

    for refused in (create(alice, **changes), alice.client.post(path, changes, format="json")):
        assert refused.status_code == 400, refused.content
        assert error_of(refused)["param"] == param
    assert WebhookEndpoint.objects.count() == 1


def test_an_update_changes_what_was_sent_and_only_then_the_time(alice: Person) -> None:
    endpoint = endpoint_of(alice, updated_at=timezone.now() - timedelta(hours=1))
    path = f"/v1/webhook_endpoints/{endpoint.pk}"

    same = alice.client.post(path, {"name": endpoint.name}, format="json").json()
    changed = alice.client.post(path, {"event_types": ["batch.failed", "batch.failed"]}, format="json").json()

    assert same["updated_at"] == int(endpoint.updated_at.timestamp())
    assert changed["updated_at"] > same["updated_at"]
    assert changed == same | {"event_types": ["batch.failed"], "updated_at": changed["updated_at"]}


def test_a_stranger_finds_nothing(alice: Person, charlie: Person) -> None:
    path = f"/v1/webhook_endpoints/{endpoint_of(alice).pk}"
    client = charlie.client

    for answer in (
        client.get(path),
        client.post(path, {"name": "x"}, format="json"),
        client.delete(path),
        client.post(f"{path}/rotate_secret", {}, format="json"),
        client.post(f"{path}/test", {"event_type": "batch.failed"}, format="json"),
        client.get(f"/v1/webhook_endpoints?after={path.rpartition('/')[2]}"),
        alice.client.get("/v1/webhook_endpoints/we_missing"),
        alice.client.get("/v1/webhook_endpoints/%00"),
    ):
        assert (answer.status_code, error_of(answer)["code"]) == (404, "webhook_endpoint_not_found")
    assert client.get("/v1/webhook_endpoints").json()["data"] == []
    assert outbox.record(charlie.project.pk, EventType.BATCH_FAILED, "batch_y") == 0


def test_a_project_has_only_so_many(alice: Person, charlie: Person, settings: Any) -> None:
    settings.MAX_WEBHOOK_ENDPOINTS = 1

    first, second, elsewhere = create(alice), create(alice), create(charlie)

    assert (first.status_code, second.status_code, elsewhere.status_code) == (200, 400, 200)
    assert error_of(second)["code"] == "too_many_webhook_endpoints"
    alice.client.delete(f"/v1/webhook_endpoints/{first.json()['id']}")
    assert create(alice).status_code == 200


@pytest.mark.parametrize("keep", [True, False])
def test_after_a_rotation_the_old_secret_signs_for_a_day_or_no_more(
    alice: Person, receiver: Receiver, keep: bool
) -> None:
    created = create(alice, url=receiver.url).json()
    body = {"keep_old_secret_active_for_24_hours": keep}
    rotated = alice.client.post(f"/v1/webhook_endpoints/{created['id']}/rotate_secret", body, format="json").json()
    happen(alice)
    deliver(WebhookEndpoint.objects.get())

    assert verifies(receiver.received[0], rotated["signing_secret"])
    assert verifies(receiver.received[0], created["signing_secret"]) is keep
    WebhookEndpoint.objects.update(previous_secret_until=F("previous_secret_until") - timedelta(hours=24))
    happen(alice)
    deliver(WebhookEndpoint.objects.get())
    assert verifies(receiver.received[1], rotated["signing_secret"])
    assert not verifies(receiver.received[1], created["signing_secret"])


def verifies(received: Received, secret: str) -> bool:
    with OpenAI(api_key="unused") as client:
        try:
            client.webhooks.verify_signature(received.body, dict(received.headers.items()), secret=secret)
        except ValueError:
            return False
    return True


def test_keep_must_be_a_boolean(alice: Person) -> None:
    path = f"/v1/webhook_endpoints/{endpoint_of(alice).pk}/rotate_secret"

    assert alice.client.post(path, {"keep_old_secret_active_for_24_hours": 1}, format="json").status_code == 400


def test_every_end_of_a_batch_is_an_event() -> None:
    assert {f"batch.{status.value}" for status in TERMINAL} == set(EventType.values)


def test_an_event_is_written_with_the_end_of_the_batch_or_not_at_all(alice: Person) -> None:
    endpoint_of(alice, event_types=["batch.failed"])
    endpoint_of(alice, event_types=["batch.completed"])
    endpoint_of(alice, disabled_at=timezone.now())
    file_id = uploaded(alice, b"not json\n")

    with transaction.atomic():
        create_batch(alice, file_id)
        assert Delivery.objects.count() == 1
        transaction.set_rollback(True)
    assert Delivery.objects.count() == 0
    batch_id = error_of(create_batch(alice, file_id))["batch_id"]

    written = Delivery.objects.get()
    assert (written.event_type, written.batch_id) == ("batch.failed", batch_id)
    assert written.endpoint.event_types == ["batch.failed"]


def test_a_batch_ends_once(alice: Person) -> None:
    endpoint_of(alice)
    batch = new_batch(alice, [line()])

    moves = (BatchStatus.FINALIZING, BatchStatus.COMPLETED, BatchStatus.COMPLETED, BatchStatus.CANCELLED)
    assert [lifecycle.move(batch.pk, target) for target in moves] == [True, True, False, False]
    assert [row.event_type for row in Delivery.objects.all()] == ["batch.completed"]


def test_each_retry_carries_the_same_event_at_longer_intervals(
    alice: Person, receiver: Receiver, endpoint: WebhookEndpoint
) -> None:
    receiver.status = 500
    happen(alice)
    for step in delivery.BACK_OFF_SECONDS[:4]:
        deliver(endpoint)
        assert step * 0.85 < seconds_until_due() < step * 1.15
        deliver(endpoint)  # not due: nothing is sent
        time_passes(timedelta(seconds=step * 1.2))
    receiver.status = 204
    deliver(endpoint)

    assert len({(each.webhook_id, each.body) for each in receiver.received}) == 1
    assert len(receiver.received) == 5
    done = Delivery.objects.get()
    assert (done.state, done.attempts, done.last_status, done.last_error) == ("delivered", 5, 204, "")
    assert json.loads(receiver.received[0].body) == {
        "id": receiver.received[0].webhook_id,
        "object": "event",
        "type": "batch.completed",
        "created_at": int(done.created_at.timestamp()),
        "data": {"id": "batch_x"},
    }


def test_retry_after_is_honoured(alice: Person, receiver: Receiver, endpoint: WebhookEndpoint) -> None:
    receiver.status, receiver.headers = 429, {"retry-after": "100"}
    happen(alice)
    happen(alice)

    deliver(endpoint)

    assert len(receiver.received) == 1  # it is about the endpoint, not about one event
    assert endpoint.state == "paused"
    time_passes(timedelta(seconds=98))
    deliver(endpoint)
    assert len(receiver.received) == 1
    receiver.status, receiver.headers = 200, {}
    time_passes(3 * ONE_SECOND)
    deliver(endpoint)
    assert {row.state for row in Delivery.objects.all()} == {"delivered"}


def test_it_is_tried_for_three_days_and_then_given_up(
    alice: Person, receiver: Receiver, endpoint: WebhookEndpoint
) -> None:
    receiver.status = 500
    happen(alice)
    endless = 100
    while Delivery.objects.get().state == "pending" and (endless := endless - 1):
        deliver(endpoint)
        WebhookEndpoint.objects.update(paused_until=None)
        waiting = Delivery.objects.get()
        if waiting.state == "pending":
            time_passes(timedelta(seconds=seconds_until_due() + 1))

    given_up = Delivery.objects.get()
    assert given_up.state == "failed"
    assert 12 <= given_up.attempts <= 20
    assert given_up.give_up_at <= timezone.now()
    assert given_up.last_error == "answered 500"
    assert endpoint.state == "disabled"
    assert "three days" in endpoint.disabled_because


def test_an_endpoint_that_fails_in_a_row_is_paused_and_gets_all_when_it_is_back(
    alice: Person, receiver: Receiver, endpoint: WebhookEndpoint
) -> None:
    receiver.status = 503
    for _ in range(20):
        happen(alice)

    deliver(endpoint)

    assert len(receiver.received) == delivery.PAUSE_AFTER
    shown = alice.client.get(f"/v1/webhook_endpoints/{endpoint.pk}").json()
    assert (shown["status"], shown["status_reason"]) == ("paused", "attempts in a row that failed: 5")
    time_passes(timedelta(seconds=delivery.FIRST_PAUSE_SECONDS + 1))
    deliver(endpoint)
    assert len(receiver.received) == delivery.PAUSE_AFTER + 1  # one, to see whether it is back
    receiver.status = 200
    time_passes(timedelta(seconds=2 * delivery.FIRST_PAUSE_SECONDS + 1))
    deliver(endpoint)
    assert {row.state for row in Delivery.objects.all()} == {"delivered"}
    assert len({each.webhook_id for each in receiver.received}) == 20
    assert (endpoint.state, endpoint.failures) == ("active", 0)


def test_an_endpoint_that_is_gone_is_disabled_until_its_owner_says_otherwise(
    alice: Person, receiver: Receiver, endpoint: WebhookEndpoint
) -> None:
    receiver.status = 410
    happen(alice)
    deliver(endpoint)
    path = f"/v1/webhook_endpoints/{endpoint.pk}"

    assert alice.client.get(path).json()["status"] == "disabled"
    assert "410" in alice.client.get(path).json()["status_reason"]
    time_passes(timedelta(minutes=1))
    deliver(endpoint)
    assert len(receiver.received) == 1
    receiver.status = 200
    assert alice.client.post(path, {"url": receiver.url}, format="json").json()["status"] == "active"
    deliver(endpoint)
    assert Delivery.objects.get().state == "delivered"


def test_a_test_that_succeeds_enables_it_and_one_that_fails_says_why(
    alice: Person, receiver: Receiver, endpoint: WebhookEndpoint
) -> None:
    WebhookEndpoint.objects.update(disabled_at=Now(), disabled_because="x")
    path = f"/v1/webhook_endpoints/{endpoint.pk}"
    asked = {"event_type": "batch.expired"}
    receiver.status = 500

    answered = alice.client.post(f"{path}/test", asked, format="json").json()

    assert answered == {
        "object": "webhook_endpoint.test",
        "webhook_endpoint_id": endpoint.pk,
        "event_type": "batch.expired",
        "status_code": 500,
        "success": True,
    }
    assert alice.client.get(path).json()["status"] == "disabled"
    receiver.status = 200
    assert alice.client.post(f"{path}/test", asked, format="json").json()["status_code"] == 200
    assert alice.client.get(path).json()["status"] == "active"
    WebhookEndpoint.objects.update(url="http://127.0.0.1:1025/")
    refused = alice.client.post(f"{path}/test", asked, format="json")
    assert (refused.status_code, error_of(refused)["code"]) == (400, "webhook_test_failed")
    assert not Delivery.objects.exists()


def test_tests_of_endpoints_are_few(
    alice: Person, charlie: Person, receiver: Receiver, endpoint: WebhookEndpoint
) -> None:
    """Each may keep a thread of the web for 15 seconds."""
    path = f"/v1/webhook_endpoints/{endpoint.pk}/test"

    answers = [alice.client.post(path, {"event_type": "batch.failed"}, format="json") for _ in range(MOST_TESTS + 1)]

    assert [answer.status_code for answer in answers] == [200] * MOST_TESTS + [429]
    assert error_of(answers[-1])["code"] == "rate_limit_exceeded"
    assert 1 <= int(answers[-1]["Retry-After"]) <= 60


def test_a_worker_that_dies_in_mid_attempt_costs_a_minute(
    alice: Person, receiver: Receiver, endpoint: WebhookEndpoint
) -> None:
    happen(alice)
    assert sweeps.due() == [endpoint.pk]
    assert delivery._take(endpoint)  # and then nothing more is heard of it

    assert sweeps.due() == []
    delivery.deliver_due(endpoint.pk)  # a doubled message
    assert receiver.received == []
    time_passes(delivery.TAKEN)
    deliver(endpoint)
    assert Delivery.objects.get().state == "delivered"


def test_each_projects_first_endpoint_comes_first(alice: Person, charlie: Person) -> None:
    crowd = [endpoint_of(alice, pk=f"we_a{number}").pk for number in range(3)]
    lone = endpoint_of(charlie, pk="we_c").pk
    happen(alice)
    happen(charlie)

    assert sweeps.due() == [crowd[0], lone, *crowd[1:]]


def test_a_deleted_endpoint_gets_nothing_and_is_forgotten(
    alice: Person, receiver: Receiver, endpoint: WebhookEndpoint
) -> None:
    happen(alice)
    path = f"/v1/webhook_endpoints/{endpoint.pk}"

    gone = alice.client.delete(path).json()

    assert gone == {"id": endpoint.pk, "object": "webhook_endpoint.deleted", "deleted": True}
    assert alice.client.get(path).status_code == 404
    deliver(endpoint)
    assert receiver.received == []
    assert (endpoint.secret_encrypted, Delivery.objects.get().state) == ("", "failed")
    sweeps.purge()
    assert WebhookEndpoint.objects.exists()
    WebhookEndpoint.objects.update(deleted_at=Now() - sweeps.DELETED_FOR - ONE_SECOND)
    sweeps.purge()
    assert not WebhookEndpoint.objects.exists()


def test_the_purge_forgets_old_deliveries_and_gives_up_overdue_ones(alice: Person, settings: Any) -> None:
    endpoint_of(alice)
    for _ in range(3):
        happen(alice)
    old, recent, overdue = Delivery.objects.order_by("pk")
    ended = {"state": "delivered", "due_at": None}
    kept = timedelta(days=settings.WEBHOOK_RETENTION_DAYS)
    Delivery.objects.filter(pk=old.pk).update(**ended, created_at=Now() - kept - ONE_SECOND)
    Delivery.objects.filter(pk=recent.pk).update(**ended, created_at=Now() - kept + timedelta(minutes=1))
    Delivery.objects.filter(pk=overdue.pk).update(give_up_at=Now() - sweeps.OVERDUE - ONE_SECOND)

    sweeps.purge()

    assert list(Delivery.objects.order_by("pk").values_list("pk", "state")) == [
        (recent.pk, "delivered"),
        (overdue.pk, "failed"),
    ]


def test_a_secret_survives_a_change_of_secret_key_and_one_that_cannot_be_read_is_no_crash(
    alice: Person, receiver: Receiver, endpoint: WebhookEndpoint, settings: Any
) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", [settings.SECRET_KEY]
    call_command("rotate_webhook_secrets", verbosity=0, stdout=io.StringIO())
    settings.SECRET_KEY_FALLBACKS = []
    happen(alice)
    deliver(endpoint)
    assert Delivery.objects.get().state == "delivered"

    settings.SECRET_KEY = "lost"
    happen(alice)
    deliver(endpoint)
    assert "rotate it" in Delivery.objects.order_by("pk").last().last_error  # type: ignore[union-attr]


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client


def test_an_operator_sees_the_log_sends_again_and_switches(
    alice: Person, receiver: Receiver, endpoint: WebhookEndpoint, operator: Client
) -> None:
    happen(alice)
    deliver(endpoint)
    sent = Delivery.objects.get()
    listed = operator.get("/admin/webhooks/delivery/?q=batch_x").content.decode()
    assert sent.event_id in listed
    page = operator.get(f"/admin/webhooks/webhookendpoint/{endpoint.pk}/change/").content.decode()
    assert endpoint.url.split("?")[0] in page
    assert endpoint.secret_encrypted not in page

    operator.post("/admin/webhooks/delivery/", {"action": "send_again", "_selected_action": [sent.pk]})
    deliver(endpoint)

    assert [each.webhook_id for each in receiver.received] == [sent.event_id] * 2
    asked = {"action": "disable", "_selected_action": [endpoint.pk]}
    question = operator.post("/admin/webhooks/webhookendpoint/", asked).content.decode()
    assert "will never be sent" in question
    assert not WebhookEndpoint.objects.exclude(disabled_at=None), "it asks first"
    for action, state in (("disable", "disabled"), ("enable", "active")):
        answer = {"action": action, "confirmed": action, "_selected_action": [endpoint.pk]}
        operator.post("/admin/webhooks/webhookendpoint/", answer)
        endpoint.refresh_from_db()
        assert endpoint.state == state
