"""Webhooks in the console."""

from html import unescape

import pytest
from django.test import Client

from apps.webhooks.models import WebhookEndpoint
from tests.conftest import Person
from tests.fakes.receiver import Receiver
from tests.integration.conftest import text_of
from tests.integration.test_webhooks import SECRET, deliver, happen, receiver, verifies

__all__ = ["receiver"]

pytestmark = pytest.mark.django_db


def test_a_member_makes_tries_rotates_sends_again_and_deletes(
    alice: Person, receiver: Receiver, member: Client
) -> None:
    form = {"name": "mine", "url": receiver.url, "event_types": ["batch.completed"]}
    refused = member.post("/console/webhooks", form | {"url": "https://10.0.0.1/"}).content.decode()
    assert "public ones only" in refused
    assert 'value="https://10.0.0.1/"' in refused

    made = SECRET.search(unescape(member.post("/console/webhooks", form).content.decode()))
    endpoint = WebhookEndpoint.objects.get()
    assert made
    page = text_of(member, "/console/webhooks")
    assert endpoint.name in page
    assert not SECRET.search(unescape(page))

    path = f"/console/webhooks/{endpoint.pk}"
    assert "answered 200" in member.post(f"{path}/test", follow=True).content.decode()
    rotated = SECRET.search(unescape(member.post(f"{path}/rotate", {"keep": "yes"}).content.decode()))
    assert rotated
    sent = happen(alice)
    deliver(endpoint)
    assert all(verifies(receiver.received[-1], match[0]) for match in (made, rotated))
    assert sent.event_id in text_of(member, "/console/webhooks")
    member.post(f"/console/deliveries/{sent.pk}/send-again")
    deliver(endpoint)
    assert [each.webhook_id for each in receiver.received[1:]] == [sent.event_id] * 2
    member.post(f"{path}/delete")
    assert sent.event_id not in text_of(member, "/console/webhooks")
