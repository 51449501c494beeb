"""Who changed what: keys, projects, webhooks and deletions, each in an entry that nobody can change."""

from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import DatabaseError, transaction
from django.test import Client

from apps.projects import audit
from apps.projects.audit import Actor, AuditEntry
from apps.projects.models import ApiKey, Project
from tests.conftest import Person, uploaded
from tests.integration.conftest import holder, text_of

pytestmark = pytest.mark.django_db

URL = "https://8.8.8.8/hooks/T0P-SECRET"


@pytest.fixture
def root(db: None) -> User:
    return User.objects.create_superuser("root")


@pytest.fixture
def admin(root: User) -> Client:
    client = Client()
    client.force_login(root)
    return client


def entries(**wanted: Any) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(**wanted).order_by("id"))


def last() -> AuditEntry:
    return AuditEntry.objects.latest("id")


def who(entry: AuditEntry) -> tuple[str, str]:
    return entry.actor_kind, entry.actor


def test_a_key_is_followed_from_its_making_to_its_end(
    member: Client, ada: User, admin: Client, root: User, alice: Person
) -> None:
    call_command("create_api_key", str(alice.project.pk), "--name", "nightly", "--scope", "submit")
    key = ApiKey.objects.get(name="nightly")
    form = {"name": "nightly", "scope": "read-only", "expires_at_0": "", "expires_at_1": ""}
    assert admin.post(f"/admin/projects/apikey/{key.pk}/change/", form).status_code == 302
    member.post(f"/console/keys/{key.prefix}/revoke")

    made, changed, revoked = entries(object_id=key.prefix)
    assert (made.action, changed.action, revoked.action) == ("key.created", "key.changed", "key.revoked")
    assert [who(each) for each in (made, changed, revoked)] == [
        (Actor.COMMAND, "create_api_key"),
        (Actor.OPERATOR, str(root.pk)),
        (Actor.MEMBER, str(ada.pk)),
    ]
    assert made.changes == {"name": [None, "nightly"], "scope": [None, "submit"]}
    assert changed.changes == {"scope": ["submit", "read-only"]}
    assert revoked.changes["revoked_at"][0] is None
    assert {each.project_id for each in (made, changed, revoked)} == {alice.project.pk}
    assert made.request_id == ""
    assert revoked.request_id.startswith("req_")


def test_a_project_is_followed_with_its_members_and_limits(admin: Client, ada: User, charlie: Person) -> None:
    page, pk = "/admin/projects/project/", charlie.project.pk
    form = form_of(charlie, members=[ada.pk], max_enqueued_lines="5")
    assert admin.post(f"{page}{pk}/change/", form).status_code == 302
    assert last().changes == {"members": [[], [ada.pk]], "max_enqueued_lines": [None, 5]}
    admin.post(page, {"action": "disable", "confirmed": "disable", "_selected_action": [pk]})

    assert [each.action for each in entries(project_id=pk, object_id=str(pk))] == [
        "project.changed",
        "project.disabled",
    ]
    assert last().changes == {"enabled": [True, False]}
    assert admin.post(f"{page}{pk}/delete/", {"post": "yes"}).status_code == 403


def form_of(person: Person, **changes: Any) -> dict[str, Any]:
    inline = {"api_keys-TOTAL_FORMS": "1", "api_keys-INITIAL_FORMS": "1"}
    rows = {"api_keys-0-id": str(person.key.pk), "api_keys-0-project": str(person.project.pk)}
    return {"name": person.project.name, "enabled": "on", **inline, **rows, **changes}


def test_an_endpoint_is_followed_without_its_secret_and_its_path(alice: Person) -> None:
    wanted = {"name": "mine", "url": URL, "event_types": ["batch.failed"]}
    made = alice.client.post("/v1/webhook_endpoints", wanted, format="json")
    assert made.status_code == 200, made.content
    path = f"/v1/webhook_endpoints/{made.json()['id']}"
    alice.client.post(path, {"name": "ours", "url": f"{URL}2"}, format="json")
    rotated = alice.client.post(f"{path}/rotate_secret")
    alice.client.delete(path)

    found = entries(object_id=made.json()["id"])
    verbs = [each.action.removeprefix("webhook_endpoint.") for each in found]
    assert verbs == ["created", "updated", "secret_rotated", "deleted"]
    assert {who(each) for each in found} == {(Actor.KEY, alice.key.prefix)}
    assert found[0].request_id == made["x-request-id"]
    assert found[1].changes == {
        "name": ["mine", "ours"],
        "url": ["https://8.8.8.8/…", "https://8.8.8.8/… (changed)"],
    }
    told = str([each.changes for each in found])
    for secret in (made.json()["signing_secret"], rotated.json()["signing_secret"], "T0P-SECRET"):
        assert secret not in told


def test_a_deleted_file_is_in_it_once(alice: Person) -> None:
    file_id = uploaded(alice, b"{}")

    alice.client.delete(f"/v1/files/{file_id}")
    alice.client.delete(f"/v1/files/{file_id}")

    (entry,) = entries(object_id=file_id)
    assert (entry.action, entry.project_id) == ("file.deleted", alice.project.pk)


def test_a_session_of_a_key_acts_as_the_key(alice: Person) -> None:
    file_id = uploaded(alice, b"{}")

    holder(alice).post(f"/console/files/{file_id}/delete")

    assert who(last()) == (Actor.KEY, alice.key.prefix)


def test_what_cannot_be_written_down_does_not_happen(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    file_id = uploaded(alice, b"{}")
    monkeypatch.setattr(audit, "_differences", lambda *_: 1 / 0)

    assert alice.client.delete(f"/v1/files/{file_id}").status_code == 500
    with pytest.raises(ZeroDivisionError):
        ApiKey.objects.filter(pk=alice.key.pk).revoke()

    assert alice.client.get(f"/v1/files/{file_id}").status_code == 200


def test_entries_are_only_ever_added(alice: Person) -> None:
    entry = last()

    for change in (
        lambda: AuditEntry.objects.filter(pk=entry.pk).update(actor="somebody else"),
        lambda: AuditEntry.objects.filter(pk=entry.pk).update(actor="somebody else", changes={}),
        lambda: AuditEntry.objects.filter(pk=entry.pk).update(changes={"name": ["a", "b"]}),
        lambda: AuditEntry.objects.filter(pk=entry.pk).delete(),
    ):
        with pytest.raises(DatabaseError, match="neither changed nor removed"), transaction.atomic():
            change()
    Project.objects.filter(pk=alice.project.pk).delete()

    assert AuditEntry.objects.get(pk=entry.pk).changes == entry.changes


def test_members_see_who_changed_what_in_their_project(
    member: Client, admin: Client, alice: Person, charlie: Person
) -> None:
    member.post("/console/keys", {"name": "<b>nightly</b>", "scope": "submit"})
    admin.post(
        "/admin/projects/apikey/", {"action": "revoke", "confirmed": "revoke", "_selected_action": [alice.key.pk]}
    )

    html = text_of(member, "/console/audit")

    assert "member ada" in html
    assert "&lt;b&gt;nightly&lt;/b&gt;" in html
    assert "key.revoked" in html
    assert "root" not in html
    assert charlie.key.prefix not in html
    assert holder(charlie).get("/console/audit").status_code == 403


def test_operators_look_at_it_and_no_more(admin: Client, root: User, alice: Person) -> None:
    admin.post(
        "/admin/projects/apikey/", {"action": "revoke", "confirmed": "revoke", "_selected_action": [alice.key.pk]}
    )
    page = "/admin/projects/auditentry/"

    html = unescape(text_of(admin, f"{page}?q={alice.project.pk}"))

    assert "operator root" in html
    assert "key.revoked" in html
    assert text_of(admin, f"{page}?q=x")
    assert admin.post(f"{page}{last().pk}/change/", {"action": "nothing"}).status_code == 403
    assert admin.post(f"{page}{last().pk}/delete/", {"post": "yes"}).status_code == 403
