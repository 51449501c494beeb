"""The console: what its pages show and do."""

import re
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from apps.batches import leases
from apps.batches.models import Batch
from apps.batches.states import BatchStatus
from apps.console import samples
from apps.files import storage
from apps.projects.models import ApiKey
from tests.conftest import Person, jsonl, line, uploaded
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import ask, holder, new_batch, run_batch, run_chunks, text_of

pytestmark = pytest.mark.django_db(transaction=True)

KEY = re.compile(r"zb_[0-9a-f]{12}_[0-9a-f]{64}")


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
    assert member.post(f"/console/batches/{batch.pk}/retry").status_code == 400
    again = member.post(f"/console/batches/{batch.pk}/retry", {"cancelled": "1"})

    assert again.status_code == 302
    newest = Batch.objects.latest("created_at")
    assert (newest.retry_of_id, newest.metadata) == (batch.pk, {})
    assert started[-1] == newest.pk
    assert f'href="/console/batches/{batch.pk}"' in text_of(member, f"/console/batches/{newest.pk}")


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
