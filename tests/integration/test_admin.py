"""Projects and keys in the admin."""

import re

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.test import Client

from apps.projects.models import ApiKey
from tests.conftest import Person, jsonl, line, uploaded
from tests.integration.conftest import new_batch

pytestmark = pytest.mark.django_db

KEY = re.compile(r"zb_[0-9a-f]{12}_[0-9a-f]{64}")


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client


def test_a_new_keys_secret_is_shown_once(admin: Client, alice: Person) -> None:
    form = {"project": str(alice.project.id), "name": "new", "scope": "submit", "expires_at_0": "", "expires_at_1": ""}

    created = admin.post("/admin/projects/apikey/add/", form, follow=True)

    shown = KEY.findall(created.content.decode())
    assert len(set(shown)) == 1
    verified = ApiKey.objects.verify(shown[0])
    assert verified is not None
    assert (verified.name, verified.scope) == ("new", "submit")
    again = admin.get(f"/admin/projects/apikey/{verified.pk}/change/")
    assert again.status_code == 200
    assert not KEY.search(again.content.decode())


def test_a_key_is_revoked_by_an_action(admin: Client, alice: Person) -> None:
    form = {"action": "revoke", "confirmed": "revoke", "_selected_action": [alice.key.pk]}

    admin.post("/admin/projects/apikey/", form)

    assert ApiKey.objects.verify(alice.secret) is None


@pytest.mark.parametrize(
    "model",
    ["projects/project", "projects/apikey", "projects/auditentry", "files/file", "batches/batch", "upstreams/upstream"],
)
def test_every_list_can_be_seen_and_searched(admin: Client, alice: Person, model: str) -> None:
    new_batch(alice, [line()])
    uploaded(alice, jsonl([line()]))

    assert admin.get(f"/admin/{model}/").status_code == 200
    assert admin.get(f"/admin/{model}/?q=x").status_code == 200


def test_rows_that_the_pipeline_owns_cannot_be_edited(admin: Client, alice: Person) -> None:
    batch = new_batch(alice, [line()])

    assert admin.get(f"/admin/batches/batch/{quote(batch.pk)}/change/").status_code == 200
    assert admin.post(f"/admin/batches/batch/{quote(batch.pk)}/change/", {"status": "failed"}).status_code == 403
    assert admin.post(f"/admin/files/file/{batch.input_file_id}/delete/", {"post": "yes"}).status_code == 403
