"""Idempotency-Key: the same request made twice is done once (wire.md §2)."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from apps.batches.models import Batch, Chunk
from apps.files.models import File, Upload
from apps.idempotency import tasks
from apps.idempotency.models import IdempotencyKey
from apps.idempotency.once import Once
from tests.conftest import Person, error_of, jsonl, line, uploaded
from tests.integration.test_uploads import objects

pytestmark = pytest.mark.django_db

LINES = jsonl([line()])


def new_upload(person: Person, key: str = "k", **changes: Any) -> Any:
    body = {"bytes": 5, "filename": "a", "mime_type": "t", "purpose": "batch"} | changes
    return person.client.post("/v1/uploads", body, format="json", HTTP_IDEMPOTENCY_KEY=key)


def new_file(person: Person, key: str = "k", *, content: bytes = LINES, name: str = "a.jsonl", **form: Any) -> Any:
    body = {"purpose": "batch", "file": SimpleUploadedFile(name, content)} | form
    return person.client.post("/v1/files", body, format="multipart", HTTP_IDEMPOTENCY_KEY=key)


def new_batch(person: Person, file_id: str, key: str = "k", **changes: Any) -> Any:
    body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions"} | changes
    return person.client.post("/v1/batches", body, format="json", HTTP_IDEMPOTENCY_KEY=key)


Ask = Callable[..., Any]


@pytest.fixture(params=["uploads", "files", "batches"])
def ask(request: pytest.FixtureRequest, alice: Person) -> Ask:
    """A request of each kind that can be made with a key."""
    file_id = uploaded(alice, LINES)
    kinds: dict[str, Ask] = {
        "uploads": new_upload,
        "files": new_file,
        "batches": lambda person, key="k", **changes: new_batch(person, file_id, key, **changes),
    }
    return kinds[request.param]


def made() -> int:
    return Upload.objects.count() + File.objects.count() + Batch.objects.count()


def test_the_same_request_is_done_once(alice: Person, bob: Person, ask: Ask, settings: Any) -> None:
    first = ask(alice)
    before, stored = made(), objects(settings)

    again = [ask(alice), ask(bob)]

    assert first.status_code == 200
    assert [each.json() for each in again] == [first.json()] * 2
    assert (made(), objects(settings)) == (before, stored)
    assert ask(alice, "another-key").json()["id"] != first.json()["id"]


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        (new_upload, {"bytes": 6}),
        (new_upload, {"unknown": 1}),
        (new_file, {"content": LINES + b"\n"}),
        (new_file, {"name": "b.jsonl"}),
        (new_file, {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}),
    ],
)
def test_another_request_with_the_key_is_refused(alice: Person, kind: Ask, other: dict[str, Any]) -> None:
    kind(alice)
    before = made()

    refused = kind(alice, **other)

    assert refused.status_code == 409
    assert error_of(refused)["code"] == "idempotency_key_reused"
    assert refused["x-should-retry"] == "false"
    assert made() == before


def test_a_key_is_for_one_kind_of_request(alice: Person) -> None:
    file_id = new_file(alice).json()["id"]

    assert error_of(new_batch(alice, file_id))["code"] == "idempotency_key_reused"
    assert error_of(new_upload(alice))["code"] == "idempotency_key_reused"


def test_a_rejected_input_is_rejected_once(alice: Person) -> None:
    file_id = uploaded(alice, jsonl([line("a"), line("a")]))

    first, again = new_batch(alice, file_id), new_batch(alice, file_id)

    assert (first.status_code, again.status_code) == (400, 400)
    assert error_of(again) == error_of(first)
    assert error_of(first)["line"] == 2
    assert Batch.objects.count() == 1


def test_a_request_that_made_nothing_leaves_the_key_free(alice: Person) -> None:
    assert new_batch(alice, "file-unknown").status_code == 404
    assert new_upload(alice, bytes=0).status_code == 400
    assert new_file(alice, content=b"").status_code == 400
    assert alice.client.post("/v1/batches", b"{", "json", HTTP_IDEMPOTENCY_KEY="k").status_code == 400

    assert new_upload(alice).status_code == 200


def test_projects_do_not_share_keys(alice: Person, charlie: Person) -> None:
    assert new_upload(alice).json()["id"] != new_upload(charlie, bytes=6).json()["id"]


@pytest.mark.parametrize("key", ["", "x" * 256, "naïve", "a b"])
def test_what_cannot_be_a_key_is_refused(alice: Person, key: str) -> None:
    refused = new_upload(alice, key)

    assert (refused.status_code, error_of(refused)["code"]) == (400, "invalid_idempotency_key")


def test_what_was_deleted_meanwhile_is_not_found(alice: Person) -> None:
    file_id = new_file(alice).json()["id"]
    alice.client.delete(f"/v1/files/{file_id}")

    assert error_of(new_file(alice))["code"] == "file_not_found"


def test_a_key_lasts_a_day(alice: Person) -> None:
    first = new_upload(alice).json()["id"]
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=23, minutes=59))
    assert new_upload(alice).json()["id"] == first

    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=24))
    assert new_upload(alice, bytes=6).json()["id"] != first


def test_the_purge_forgets_old_keys(alice: Person) -> None:
    new_upload(alice, "old")
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=24))
    new_upload(alice, "new")

    tasks.purge()

    assert [row.key for row in IdempotencyKey.objects.all()] == ["new"]


def test_a_key_in_flight_is_refused_for_now(alice: Person, ask: Ask) -> None:
    with Once(alice.project, "k"):
        refused = ask(alice)
        assert refused.status_code == 409
        assert error_of(refused)["code"] == "idempotency_key_in_flight"
        assert refused["Retry-After"] == "2"
        assert "x-should-retry" not in refused

    assert ask(alice).status_code == 200


def test_the_key_of_a_request_that_died_can_be_had_when_its_claim_is_over(alice: Person) -> None:
    Once(alice.project, "k").__enter__()
    assert new_upload(alice).status_code == 409

    IdempotencyKey.objects.update(claimed_until=timezone.now() - timedelta(seconds=1))

    assert new_upload(alice).status_code == 200


def test_who_lost_the_key_makes_nothing(
    alice: Person, ask: Ask, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, before, stored = Once.earlier, made(), objects(settings)

    def and_overtaken(once: Once, *asked: Any) -> str | None:
        found = earlier(once, *asked)
        IdempotencyKey.objects.update(owner="another request")
        return found

    monkeypatch.setattr(Once, "earlier", and_overtaken)

    assert error_of(ask(alice))["code"] == "idempotency_key_in_flight"

    assert (made(), objects(settings)) == (before, stored)
    left = IdempotencyKey.objects.get()
    assert (left.owner, left.object_id) == ("another request", "")


def test_a_batch_that_could_not_be_stored_frees_the_key(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    file_id = uploaded(alice, LINES)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no")

    with monkeypatch.context() as patched:
        patched.setattr(Chunk.objects, "bulk_create", broken)
        assert new_batch(alice, file_id).status_code == 500
    assert not Batch.objects.exists()

    assert new_batch(alice, file_id).status_code == 200
