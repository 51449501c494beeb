"""The console: who gets in, what they see and do, and what nobody may."""

import re
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from django.urls import URLPattern
from django.utils import timezone

from apps.batches import leases, tasks
from apps.batches.models import Batch
from apps.batches.states import BatchStatus
from apps.console import samples
from apps.console.urls import urlpatterns
from apps.files import storage
from apps.files.models import File
from apps.projects.models import ApiKey, Project
from tests.conftest import Person, jsonl, line, uploaded
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import ask, new_batch, run_batch, run_chunks

pytestmark = pytest.mark.django_db(transaction=True)

KEY = re.compile(r"zb_[0-9a-f]{12}_[0-9a-f]{64}")
NAMING = [route for route in urlpatterns if route.pattern.converters.keys() - {"rest"}]
"""Paths that name a batch, a file or a key."""
PAGES = ["/", "/console/batches/new", "/console/files", "/console/keys", "/console/first-request"]


@pytest.fixture
def ada(alice: Person) -> User:
    """A member of Alice's project."""
    user = User.objects.create_user("ada", password="correct horse")
    alice.project.members.add(user)
    return user


@pytest.fixture
def member(ada: User) -> Client:
    client = Client()
    client.force_login(ada)
    return client


@pytest.fixture(params=["member", "key"])
def viewer(request: pytest.FixtureRequest, member: Client, alice: Person) -> Client:
    """Somebody who looks at Alice's project, in either way."""
    return member if request.param == "member" else holder(alice)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of batches whose work was sent for."""
    ids: list[str] = []
    monkeypatch.setattr(tasks.start, "delay", ids.append)
    monkeypatch.setattr(tasks.write_off, "delay", ids.append)
    return ids


def path_of(route: URLPattern, name: str) -> str:
    """The route's path with `name` in each of its places."""
    return "/" + re.sub("<[^>]+>", quote(name), str(route.pattern))


def holder(person: Person) -> Client:
    client = Client()
    assert client.post("/console/sign-in", {"api_key": person.secret}).status_code == 302
    return client


def text_of(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200, response.content
    return response.content.decode()


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
    theirs = {"batch_id": batch.pk, "file_id": batch.input_file_id, "prefix": charlie.key.prefix}
    refusal = 403 if route.name == "revoke" and "console_key" in viewer.session else 404
    started.clear()

    for name in (theirs[next(iter(route.pattern.converters))], "batch_never", "\0", "x" * 3_000, "%F0%9F"):
        statuses = {viewer.get(path_of(route, name)).status_code, viewer.post(path_of(route, name)).status_code}
        assert statuses - {405} == {refusal}, name

    assert started == []
    assert charlie.client.get(f"/v1/batches/{batch.pk}").json()["status"] == "in_progress"
    assert charlie.client.get(f"/v1/files/{batch.input_file_id}").status_code == 200


def test_errors_of_the_console_are_pages_and_those_of_the_api_are_not(member: Client) -> None:
    page, answer = member.get("/console/nowhere"), member.get("/nowhere")

    assert (page.status_code, page["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/json")


# --- What a page may do ---


@pytest.mark.parametrize("path", [*PAGES, "/console/sign-in", "/console/nowhere"])
def test_pages_load_nothing_from_elsewhere_and_hold_nothing_inline(member: Client, path: str) -> None:
    response = member.get(path)

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


# --- Batches ---


def test_a_member_starts_a_batch_which_runs_without_a_key(
    member: Client, ada: User, alice: Person, upstream: FakeUpstream, started: list[str]
) -> None:
    form = {"endpoint": "/v1/chat/completions", "name": "Week 46"}
    made = member.post("/console/batches", form | {"input_file_id": uploaded(alice, jsonl([line("a")]))})

    batch = Batch.objects.get()
    assert made.headers["Location"] == f"/console/batches/{batch.pk}"
    assert started == [batch.pk]
    assert (batch.submitted_by, batch.api_key, batch.metadata) == (ada, None, {"name": "Week 46"})
    beats = [leases.Beat(claim.chunk.pk, claim.epoch, 0, 0) for claim in [leases.claim(batch.chunks.get().pk)] if claim]
    assert [renewal.key_revoked for renewal in leases.renew(beats)] == [False]
    ada.delete()
    assert [renewal.key_revoked for renewal in leases.renew(beats)] == [True]


def test_a_refused_input_leads_to_its_bad_lines(member: Client, alice: Person, started: list[str]) -> None:
    file_id = uploaded(alice, jsonl([line("a"), line("a"), line("b", body=None)]))

    refused = member.post(
        "/console/batches", {"input_file_id": file_id, "endpoint": "/v1/chat/completions"}, follow=True
    )

    html = refused.content.decode()
    assert "Line 2 duplicates custom_id" in html
    assert "Line 3 is missing body" in html
    assert started == []


def test_the_list_filters_and_pages(member: Client, alice: Person) -> None:
    ids = [new_batch(alice, [line()]).pk for _ in range(22)]

    first = text_of(member, "/?status=running")

    assert ids[-1] in first
    assert ids[0] not in first
    assert ids[0] in text_of(member, f"/?after={ids[2]}")
    assert "No batch matches" in text_of(member, "/?status=completed")
    assert "No batch matches" in text_of(member, "/?q=nowhere")
    assert ids[3] in text_of(member, f"/?q={ids[3]}")


def test_the_pages_say_something_when_there_is_nothing(member: Client) -> None:
    assert "No batches yet" in text_of(member, "/")
    assert "No files here" in text_of(member, "/console/files")


def test_an_ended_batch_shows_answers_errors_and_downloads(
    member: Client, alice: Person, upstream: FakeUpstream, settings: Any
) -> None:
    settings.INFERENCE_MAX_ATTEMPTS = 1
    batch = run_batch(new_batch(alice, [ask("echo", "<b>one</b>"), ask("status-500", "two"), ask("status-400", "x")]))

    html = text_of(member, f"/console/batches/{batch.pk}")

    assert "data-live" not in html
    assert html.count("I am &lt;b&gt;one&lt;/b&gt;") == 2  # the question, and its echo
    assert "Scripted 400" in html
    assert "(1)" in html  # one line to retry
    download = member.get(f"/console/files/{batch.output_file_id}/content")
    assert b"<b>one</b>" in b"".join(download.streaming_content)  # type: ignore[attr-defined]


def test_answers_are_shown_while_the_batch_runs(member: Client, alice: Person, upstream: FakeUpstream) -> None:
    batch = new_batch(alice, [ask("echo", "early"), ask("status-400", "bad")])
    run_chunks(batch)

    html = text_of(member, f"/console/batches/{batch.pk}")

    assert 'data-live="2000"' in html
    assert html.count("I am early") == 2
    assert "Scripted 400" in html


def test_a_batch_whose_files_are_gone_still_has_a_page(member: Client, alice: Person, upstream: FakeUpstream) -> None:
    batch = run_batch(new_batch(alice, [ask("echo", "gone")]))
    for file_id in (batch.input_file_id, batch.output_file_id):
        alice.client.delete(f"/v1/files/{file_id}")

    assert "deleted or have expired" in text_of(member, f"/console/batches/{batch.pk}")


def test_a_deleted_input_is_read_by_no_page(member: Client, alice: Person, upstream: FakeUpstream) -> None:
    batch = new_batch(alice, [ask("echo", "private")])
    run_chunks(batch)
    alice.client.delete(f"/v1/files/{batch.input_file_id}")  # its bytes stay until the batch ends

    html = text_of(member, f"/console/batches/{batch.pk}")

    assert html.count("I am private") == 1  # the answer, not the question


def test_what_a_client_sent_breaks_no_page(member: Client, alice: Person) -> None:
    file_id = uploaded(alice, jsonl([line("a")]))
    metadata = {"retry_of": "../x", "items": "<script>", "name": "cut \ud83d here", "n": 1}
    request = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "metadata": metadata}
    batch_id = alice.client.post("/v1/batches", request, format="json").json()["id"]

    html = text_of(member, f"/console/batches/{batch_id}")

    assert "cut ? here" in html
    assert "&lt;script&gt;" in html


def test_only_a_piece_of_a_long_file_is_read(alice: Person, upstream: FakeUpstream, monkeypatch: Any) -> None:
    monkeypatch.setattr(samples, "WINDOW_BYTES", 1_000)
    monkeypatch.setattr(samples, "ERROR_BYTES", 1_000)
    read: list[int] = []
    read_range = storage.read_range

    def watched(key: str, start: int, end: int) -> bytes:
        read.append(end - start)
        return read_range(key, start, end)

    monkeypatch.setattr(storage, "read_range", watched)
    bad, good = [ask("status-400", f"b{n}") for n in range(50)], [ask("echo", f"g{n}") for n in range(50)]
    batch = run_batch(new_batch(alice, [*bad, *good]))
    read.clear()

    found, report = samples.first(batch), samples.failures(batch)

    assert found[0].custom_id == "g0"
    assert found[0].question is None
    assert not report.is_whole
    assert 0 < report.seen < 50
    assert max(read) <= 1_000


def test_cancel_and_retry(member: Client, alice: Person, upstream: FakeUpstream, started: list[str]) -> None:
    batch = new_batch(alice, [ask("echo", "a")])
    started.clear()
    member.post(f"/console/batches/{batch.pk}/cancel")
    assert started == [batch.pk]
    ended = run_batch(batch)
    assert ended.status == BatchStatus.CANCELLED

    assert member.post(f"/console/batches/{batch.pk}/cancel").status_code == 302  # cancelled is what was asked for
    assert member.post(f"/console/batches/{batch.pk}/retry").status_code == 409
    again = member.post(f"/console/batches/{batch.pk}/retry", {"cancelled": "1"})

    assert again.status_code == 302
    newest = Batch.objects.latest("created_at")
    assert newest.metadata == {"retry_of": batch.pk}
    assert started[-1] == newest.pk


# --- Files and keys ---


def test_a_file_is_deleted(member: Client, alice: Person) -> None:
    file_id = uploaded(alice, b"{}")

    member.post(f"/console/files/{file_id}/delete")

    assert alice.client.get(f"/v1/files/{file_id}").status_code == 404


def test_a_members_new_key_is_shown_once_and_works(member: Client, alice: Person) -> None:
    made = member.post("/console/keys", {"name": "nightly", "days": "30"})

    secret = KEY.findall(made.content.decode())[0]
    key = ApiKey.objects.verify(secret)
    assert key is not None
    assert (key.project, key.name) == (alice.project, "nightly")
    assert key.expires_at is not None
    assert not KEY.search(text_of(member, "/console/keys"))
    member.post(f"/console/keys/{key.prefix}/revoke")
    assert ApiKey.objects.verify(secret) is None


def test_a_key_makes_and_revokes_no_keys(alice: Person) -> None:
    client = holder(alice)

    assert client.post("/console/keys", {"name": "more"}).status_code == 403
    assert client.post(f"/console/keys/{alice.key.prefix}/revoke").status_code == 403
    assert ApiKey.objects.get() == alice.key


@pytest.mark.parametrize(
    ("model", "is_shown"), [("meta-llama/Llama-3.1:8b", True), ("m\nLINES\nrm -rf ~\n", False), ("m'+run()+'", False)]
)
def test_a_model_is_offered_for_pasting_only_if_it_can_do_no_harm(
    member: Client, alice: Person, model: str, is_shown: bool
) -> None:
    new_batch(alice, [ask("echo", "a") | {"body": {"model": model, "messages": []}}])

    html = text_of(member, "/console/first-request")

    assert (model in unescape(html)) is is_shown
    assert ("&quot;your-model&quot;" in html or '"your-model"' in html) is not is_shown


def test_the_first_request_names_this_server(member: Client, settings: Any) -> None:
    assert text_of(member, "/console/first-request").count("http://testserver/v1") >= 4
    settings.CSRF_TRUSTED_ORIGINS = ["https://testserver"]
    assert "https://testserver/v1" in text_of(member, "/console/first-request")
