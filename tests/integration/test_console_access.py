"""The console: who gets in, what nobody may, and what its pages keep out."""

import re
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from django.urls import URLPattern
from django.utils import timezone

from apps.console.urls import urlpatterns
from apps.files.models import File
from apps.projects.models import ApiKey, Project
from tests.conftest import Person, line, uploaded
from tests.integration.conftest import holder, new_batch, text_of
from tests.integration.test_webhooks import endpoint_of, happen

pytestmark = pytest.mark.django_db(transaction=True)

NAMING = [route for route in urlpatterns if route.pattern.converters.keys() - {"rest"}]
"""Paths that name a batch, a file or a key."""
PAGES = ["/", "/console/batches/new", "/console/files", "/console/keys", "/console/webhooks", "/console/first-request"]


@pytest.fixture(params=["member", "key"])
def viewer(request: pytest.FixtureRequest, member: Client, alice: Person) -> Client:
    """Somebody who looks at Alice's project, in either way."""
    return member if request.param == "member" else holder(alice)


def path_of(route: URLPattern, name: str) -> str:
    """The route's path with `name` in each of its places."""
    return "/" + re.sub("<[^>]+>", quote(name), str(route.pattern))


# --- Signing in and out ---


def test_a_member_signs_in_with_name_and_password(ada: User, alice: Person) -> None:
    client = Client()
    assert client.get("/").headers["Location"] == "/console/sign-in?next=%2F"

    wrong = client.post("/console/sign-in", {"username": "ada", "password": "guess"})
    right = client.post("/console/sign-in", {"username": "ada", "password": "correct horse"})

    assert wrong.status_code == 403
    assert right.headers["Location"] == "/"
    assert alice.project.name in text_of(client, "/").replace("&#x27;", "'")


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "javascript:alert(1)"])
def test_signing_in_leads_nowhere_else(ada: User, target: str) -> None:
    answer = Client().post("/console/sign-in", {"username": "ada", "password": "correct horse", "next": target})

    assert answer.headers["Location"] == "/"


def test_a_session_opened_with_a_key_holds_no_key_and_ends_with_it(alice: Person) -> None:
    client = holder(alice)
    assert alice.secret not in str(dict(client.session))
    assert client.get("/").status_code == 200

    ApiKey.objects.filter(pk=alice.key.pk).update(revoked_at=timezone.now())

    assert client.get("/").status_code == 302
    assert client.get("/", headers={"x-console-fragment": "1"}).status_code == 401
    assert put_file(client, b"{}").status_code == 401


def test_a_wrong_key_opens_nothing(alice: Person) -> None:
    assert Client().post("/console/sign-in", {"api_key": alice.secret + "0"}).status_code == 403


def test_a_key_takes_over_no_users_session(ada: User, charlie: Person) -> None:
    client = Client()
    client.force_login(ada)
    before = client.session.session_key

    client.post("/console/sign-in", {"api_key": charlie.secret})

    assert client.session.session_key != before
    assert "_auth_user_id" not in client.session
    assert "Charlie" in text_of(client, "/")


def test_signing_out_takes_a_post(member: Client) -> None:
    assert member.get("/console/sign-out").status_code == 405
    assert member.post("/console/sign-out").status_code == 302
    assert member.get("/").status_code == 302


# --- Who sees what ---


def test_a_membership_that_ends_opens_nothing_more(member: Client, ada: User, alice: Person) -> None:
    alice.project.members.remove(ada)

    assert member.get("/").status_code == 403
    assert "in no project yet" in member.get("/").content.decode()


def test_a_disabled_project_is_closed(member: Client, alice: Person) -> None:
    Project.objects.filter(pk=alice.project.pk).update(enabled=False)

    assert member.get("/").status_code == 403


def test_a_superuser_may_look_at_any_project_and_a_member_only_at_theirs(
    member: Client, alice: Person, charlie: Person
) -> None:
    root = Client()
    root.force_login(User.objects.create_superuser("root"))
    wish = {"project": str(charlie.project.pk)}

    assert member.post("/console/project", wish).status_code == 404
    assert root.post("/console/project", wish).status_code == 302
    assert 'class="menu-name">Charlie' in text_of(root, "/")


def test_a_strangers_batch_is_like_one_that_never_was(member: Client, charlie: Person, started: list[str]) -> None:
    batch = new_batch(charlie, [line()])
    started.clear()

    assert batch.pk not in text_of(member, "/")
    for batch_id in (batch.pk, "batch_unknown", "x" * 3_000):
        assert member.get(f"/console/batches/{batch_id}").status_code == 404
        assert member.post(f"/console/batches/{batch_id}/cancel").status_code == 404
        assert member.post(f"/console/batches/{batch_id}/retry").status_code == 404
        assert member.get("/", {"after": batch_id}).status_code == 404
    form = {"input_file_id": batch.input_file_id, "endpoint": "/v1/chat/completions"}
    assert member.post("/console/batches", form).status_code == 404
    assert started == []


def test_a_strangers_file_and_key_are_out_of_reach(member: Client, charlie: Person) -> None:
    file_id = uploaded(charlie, b"{}")

    assert file_id not in text_of(member, "/console/files")
    assert member.get(f"/console/files/{file_id}/content").status_code == 404
    assert member.post(f"/console/files/{file_id}/delete").status_code == 404
    assert member.post(f"/console/keys/{charlie.key.prefix}/revoke").status_code == 404
    assert charlie.client.get("/v1/batches").status_code == 200


@pytest.mark.parametrize("route", NAMING, ids=str)
def test_no_path_leads_to_what_is_anothers(
    route: URLPattern, viewer: Client, charlie: Person, started: list[str]
) -> None:
    """Also a page that is yet to be written: it must answer 404 for another project's ids, and change nothing."""
    batch = new_batch(charlie, [line()])
    endpoint = endpoint_of(charlie)
    theirs = {
        "batch_id": batch.pk,
        "file_id": batch.input_file_id,
        "prefix": charlie.key.prefix,
        "endpoint_id": endpoint.pk,
        "delivery_id": str(happen(charlie).pk),
    }
    refusal = 403 if route.name == "revoke" and "console_key" in viewer.session else 404
    started.clear()

    for name in (theirs[next(iter(route.pattern.converters))], "batch_never", "\0", "x" * 3_000, "%F0%9F"):
        statuses = {viewer.get(path_of(route, name)).status_code, viewer.post(path_of(route, name)).status_code}
        assert statuses - {405} == {refusal}, name

    assert started == []
    assert charlie.client.get(f"/v1/batches/{batch.pk}").json()["status"] == "in_progress"
    assert charlie.client.get(f"/v1/files/{batch.input_file_id}").status_code == 200
    assert charlie.client.get(f"/v1/webhook_endpoints/{endpoint.pk}").json()["signing_secret_hint"] == "whsec_…"


def test_errors_of_the_console_are_pages_and_those_of_the_api_are_not(member: Client) -> None:
    page, answer = member.get("/console/nowhere"), member.get("/nowhere")

    assert (page.status_code, page["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/json")


# --- What a page may do ---


@pytest.mark.parametrize(
    "path", [*PAGES, "/console/audit", "/console/batches/{batch}", "/console/sign-in", "/console/nowhere"]
)
def test_pages_load_nothing_from_elsewhere_and_hold_nothing_inline(member: Client, alice: Person, path: str) -> None:
    response = member.get(path.format(batch=new_batch(alice, [line()]).pk))

    policy = response["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert response["Cache-Control"] == "no-store"
    html = response.content.decode()
    assert not re.search(r"<script(?![^>]* src=)|\sstyle=|<style|\son[a-z]+=", html)
    assert not re.search(r'(src|href|action)="(https?:)?//', html)


@pytest.mark.parametrize("route", urlpatterns, ids=str)
def test_nothing_takes_a_post_without_its_token(ada: User, route: URLPattern) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(ada)

    refused = client.post(path_of(route, "x"), {})

    assert refused.status_code == 403
    assert route.name == "upload" or "This form has expired" in refused.content.decode()


def put_file(client: Client, content: bytes, **headers: Any) -> Any:
    form = {"purpose": "batch", "file": SimpleUploadedFile("input.jsonl", content)}
    return client.put("/console/uploads", encode_multipart(BOUNDARY, form), MULTIPART_CONTENT, headers=headers)


def test_an_upload_needs_a_session_and_its_token(ada: User, alice: Person, settings: Any) -> None:
    settings.MAX_UPLOAD_BYTES = 1_000
    client = Client(enforce_csrf_checks=True)
    assert put_file(client, b"{}").status_code == 401
    client.force_login(ada)
    assert put_file(client, b"{}").status_code == 403
    client.get("/console/batches/new")
    token = client.cookies["csrftoken"].value

    stored = put_file(client, b"{}", x_csrftoken=token)

    assert stored.status_code == 200, stored.content
    assert File.objects.get(pk=stored.json()["id"]).project == alice.project
    assert put_file(client, b"x" * 2_000, x_csrftoken=token).status_code == 413
