"""The official SDK's webhooks against a live server, and what real workers deliver."""

import uuid
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.webhooks import (
    BatchCancelledWebhookEvent,
    BatchCompletedWebhookEvent,
    BatchExpiredWebhookEvent,
    BatchFailedWebhookEvent,
    WebhookEndpointWithSecret,
)
from openai.types.webhooks.webhook_endpoint import WebhookEndpoint

from apps.webhooks.models import EventType
from tests.conftest import jsonl, line
from tests.fakes.receiver import Received, Receiver
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import ask
from tests.stack import Stack, finished, submit, wait_for_heartbeats, wait_until

ALL: Any = list(EventType.values)


@pytest.fixture
def sdk(stack: Stack) -> OpenAI:
    """Of a project of its own: tests of endpoints are counted by project, and other files make many."""
    return stack.sdk(stack.new_tenant(f"webhooks {uuid.uuid4()}").api_key)


@pytest.fixture
def receiver() -> Receiver:
    """Where events arrive; it listens when a test says so, at the same place each time."""
    made = Receiver()
    with made.listening():
        pass
    return made


@pytest.fixture
def endpoint(sdk: OpenAI, receiver: Receiver) -> Iterator[WebhookEndpointWithSecret]:
    made = sdk.webhooks.create(name="mine", url=receiver.url, event_types=ALL)
    yield made
    sdk.webhooks.delete(made.id)


def unwrapped(sdk: OpenAI, received: Received, secret: str) -> Any:
    return sdk.webhooks.unwrap(received.body, dict(received.headers.items()), secret=secret)


def test_an_endpoint_from_create_to_delete(sdk: OpenAI, receiver: Receiver) -> None:
    made = sdk.webhooks.create(name="mine", url=receiver.url, event_types=["batch.completed"])
    other = sdk.webhooks.create(name="other", url=receiver.url, event_types=ALL)
    assert (made.name, made.url, made.event_types) == ("mine", receiver.url, ["batch.completed"])
    assert set(WebhookEndpointWithSecret.model_fields) <= made.model_fields_set

    found = sdk.webhooks.retrieve(made.id)
    assert found.object == "webhook_endpoint"
    assert set(WebhookEndpoint.model_fields) <= found.model_fields_set
    assert "signing_secret" not in found.model_fields_set
    assert [each.id for each in sdk.webhooks.list(limit=1)][:2] == [other.id, made.id]
    assert sdk.webhooks.update(made.id, name="ours", event_types=ALL).event_types == ALL
    assert sdk.webhooks.event_types.list().data == ALL

    rotated = sdk.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    with receiver.listening():
        tested = sdk.webhooks.test(made.id, event_type="batch.failed")
    assert (tested.status_code, tested.success, tested.event_type) == (200, True, "batch.failed")
    for secret in (made.signing_secret, rotated.signing_secret):
        assert isinstance(unwrapped(sdk, receiver.received[0], secret), BatchFailedWebhookEvent)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        unwrapped(sdk, receiver.received[0], other.signing_secret)
    with pytest.raises(openai.BadRequestError) as unanswered:
        sdk.webhooks.test(made.id, event_type="batch.failed")
    assert unanswered.value.code == "webhook_test_failed"
    sdk.webhooks.rotate_secret(made.id)

    for each in (made, other):
        deleted = sdk.webhooks.delete(each.id)
        assert (deleted.id, deleted.deleted, deleted.object) == (each.id, True, "webhook_endpoint.deleted")
    with pytest.raises(openai.NotFoundError):
        sdk.webhooks.retrieve(made.id)


def test_each_end_of_a_batch_is_delivered_and_unwraps(
    stack: Stack, sdk: OpenAI, receiver: Receiver, endpoint: WebhookEndpointWithSecret, witness: FakeUpstream
) -> None:
    with receiver.listening():
        with pytest.raises(openai.BadRequestError) as rejected:
            submit(sdk, b"not json\n")
        body: Any = rejected.value.body
        completed = finished(sdk, submit(sdk, jsonl([line()])))
        witness.gate.close()
        try:
            cancelled = sdk.batches.cancel(submit(sdk, jsonl([line()])).id)
            before = witness.request_count
            expired = submit(sdk, jsonl(ask("echo", str(number)) for number in range(400)))
            witness.wait_for_requests(before + 50)
            stack.execute("UPDATE batches_batch SET expires_at = statement_timestamp() WHERE id = %s", expired.id)
            wait_for_heartbeats(stack, expired, since="expires_at")
        finally:
            witness.gate.open()
        due = {body["batch_id"], *(finished(sdk, batch).id for batch in (completed, cancelled, expired))}
        wait_until(lambda: len(receiver.received) >= len(due), "every event arrives", 20)

    events = [unwrapped(sdk, received, endpoint.signing_secret) for received in receiver.received]
    assert {(type(event), event.data.id) for event in events} == {
        (BatchFailedWebhookEvent, body["batch_id"]),
        (BatchCompletedWebhookEvent, completed.id),
        (BatchCancelledWebhookEvent, cancelled.id),
        (BatchExpiredWebhookEvent, expired.id),
    }
    assert {event.type for event in events} == set(ALL)
    assert [received.webhook_id for received in receiver.received] == [event.id for event in events]
    ended_at = {batch.id: batch.completed_at for batch in [finished(sdk, completed)]}
    assert {event.created_at - ended_at[event.data.id] for event in events if event.data.id in ended_at} <= {0, 1}


def test_a_receiver_that_was_away_gets_each_event_later_under_the_same_id(
    stack: Stack, sdk: OpenAI, receiver: Receiver, endpoint: WebhookEndpointWithSecret
) -> None:
    receiver.status = 503
    with receiver.listening():
        batches = {finished(sdk, submit(sdk, jsonl([line()]))).id for _ in range(2)}
        wait_until(lambda: len(receiver.received) == 2, "both are tried", 20)
    first = {received.webhook_id for received in receiver.received}

    hurry(stack, endpoint)
    wait_until(lambda: attempts(stack, endpoint) == [2, 2], "both are tried while nobody listens", 20)
    receiver.status = 200
    with receiver.listening():
        hurry(stack, endpoint)
        wait_until(lambda: states(stack, endpoint) == ["delivered", "delivered"], "both arrive", 20)

    later = receiver.received[2:]
    assert {received.webhook_id for received in later} == first
    assert {unwrapped(sdk, received, endpoint.signing_secret).data.id for received in later} == batches


def hurry(stack: Stack, endpoint: WebhookEndpointWithSecret) -> None:
    """What waits for its next attempt has waited long enough."""
    change = "UPDATE webhooks_delivery SET due_at = statement_timestamp() WHERE endpoint_id = %s AND state = 'pending'"
    stack.execute(change, endpoint.id)
    stack.send("webhooks.send", endpoint.id)


def attempts(stack: Stack, endpoint: WebhookEndpointWithSecret) -> list[int]:
    """Of each delivery that was seen to fail since."""
    query = "SELECT attempts FROM webhooks_delivery WHERE endpoint_id = %s AND last_status IS NULL"
    return stack.all_of_postgres(query, endpoint.id)


def states(stack: Stack, endpoint: WebhookEndpointWithSecret) -> list[str]:
    return stack.all_of_postgres("SELECT state FROM webhooks_delivery WHERE endpoint_id = %s", endpoint.id)
