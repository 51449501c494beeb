"""The four endpoints of /v1/uploads (wire.md §5)."""

import hashlib
import io
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from apps.api.errors import StorageError
from apps.files import in_parts, storage, sweeps
from apps.files.models import File, Upload, UploadPart, UploadStatus
from tests.conftest import Person, both_storages, create_batch, error_of, jsonl, line

pytestmark = [pytest.mark.django_db, both_storages]

CONTENT = jsonl([line(f"line {number}") for number in range(30)])
THIRDS = [CONTENT[:1000], CONTENT[1000:2500], CONTENT[2500:]]


def begin(person: Person, size: int = len(CONTENT), **changes: Any) -> Any:
    """POST /v1/uploads; the response. A change to None leaves the member out."""
    wanted = {"bytes": size, "filename": "in.jsonl", "mime_type": "application/jsonl", "purpose": "batch"} | changes
    body = {name: value for name, value in wanted.items() if value is not None}
    return person.client.post("/v1/uploads", body, format="json")


def begun(person: Person, size: int = len(CONTENT)) -> str:
    response = begin(person, size)
    assert response.status_code == 200, response.content
    return str(response.json()["id"])


def send(person: Person, upload_id: str, data: bytes) -> Any:
    form = {"data": io.BytesIO(data)}
    return person.client.post(f"/v1/uploads/{upload_id}/parts", form, format="multipart")


def sent(person: Person, upload_id: str, parts: Sequence[bytes] = THIRDS) -> list[str]:
    return [str(send(person, upload_id, data).json()["id"]) for data in parts]


def complete(person: Person, upload_id: str, part_ids: Any, **more: Any) -> Any:
    return person.client.post(f"/v1/uploads/{upload_id}/complete", {"part_ids": part_ids, **more}, format="json")


def cancel(person: Person, upload_id: str) -> Any:
    return person.client.post(f"/v1/uploads/{upload_id}/cancel")


def expire(_: Person, upload_id: str) -> None:
    Upload.objects.filter(pk=upload_id).update(expires_at=timezone.now() - timedelta(seconds=1))


def objects(settings: Any) -> list[Path]:
    """What is stored, and what is being received."""
    stored = (Path(folder, name) for folder in ("files", "uploads") for name in storage.names_in(folder))
    return sorted([*stored, *Path(settings.SPOOL_DIR).glob("*")])


def test_parts_in_any_order_become_one_file(alice: Person, settings: Any) -> None:
    first = begin(alice, expires_after={"anchor": "created_at", "seconds": 7_200}).json()
    assert first == {
        "id": first["id"],
        "object": "upload",
        "bytes": len(CONTENT),
        "created_at": first["created_at"],
        "filename": "in.jsonl",
        "purpose": "batch",
        "status": "pending",
        "expires_at": first["created_at"] + 3_600,
        "file": None,
    }
    part = send(alice, first["id"], THIRDS[2]).json()
    assert part == {
        "id": part["id"],
        "object": "upload.part",
        "created_at": part["created_at"],
        "upload_id": first["id"],
    }
    ids = [*sent(alice, first["id"], THIRDS[:2]), part["id"]]
    sent(alice, first["id"], THIRDS[:1])  # an answer got lost

    done = complete(alice, first["id"], ids, md5=hashlib.md5(CONTENT).hexdigest().upper()).json()

    file = done["file"]
    assert done == first | {"status": "completed", "file": file}
    assert (file["filename"], file["bytes"], file["purpose"]) == ("in.jsonl", len(CONTENT), "batch")
    assert file["expires_at"] == file["created_at"] + 7_200
    assert alice.client.get(f"/v1/files/{file['id']}").json() == file
    assert alice.client.get(f"/v1/files/{file['id']}/content").getvalue() == CONTENT
    assert create_batch(alice, file["id"]).json()["request_counts"]["total"] == 30
    assert [path.stem for path in objects(settings)] == [file["id"]], "parts and spools are gone"
    assert not UploadPart.objects.exists()


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"purpose": "fine-tune"}, 400, "invalid_purpose"),
        ({"bytes": None}, 400, "invalid_request_error"),
        ({"bytes": 0}, 400, "invalid_request_error"),
        ({"bytes": "many"}, 400, "invalid_request_error"),
        ({"bytes": True}, 400, "invalid_request_error"),
        ({"bytes": 209_715_201}, 400, "invalid_request_error"),
        ({"filename": None}, 400, "invalid_request_error"),
        ({"filename": "a/.."}, 400, "invalid_request_error"),
        ({"filename": "\x00\ud800"}, 400, "invalid_request_error"),
        ({"mime_type": None}, 400, "invalid_request_error"),
        ({"expires_after": "soon"}, 400, "invalid_request_error"),
        ({"expires_after": {"anchor": "created_at", "seconds": 60}}, 400, "invalid_request_error"),
    ],
)
def test_a_bad_beginning_is_refused(alice: Person, changes: dict[str, Any], status: int, code: str) -> None:
    refused = begin(alice, **changes)

    assert (refused.status_code, error_of(refused)["code"]) == (status, code)
    assert not Upload.objects.exists()


def test_a_filename_is_made_safe(alice: Person) -> None:
    assert begin(alice, filename="../a\\b/søk\n\x00😀.jsonl").json()["filename"] == "søk😀.jsonl"


def test_a_bad_part_is_refused_and_leaves_nothing(alice: Person, settings: Any) -> None:
    settings.MAX_PART_BYTES = 1_000
    upload_id = begun(alice)
    path = f"/v1/uploads/{upload_id}/parts"

    assert error_of(send(alice, upload_id, b""))["code"] == "empty_file"
    assert error_of(alice.client.post(path, {"data": "no file"}, format="multipart"))["code"] == "missing_file"
    assert error_of(alice.client.post(path, {}, format="json"))["code"] == "invalid_content_type"
    assert (
        error_of(alice.client.post(path, b"x", content_type="multipart/form-data; boundary=x"))["code"]
        == "invalid_multipart"
    )
    over = send(alice, upload_id, b"x" * 1_001)
    assert (over.status_code, error_of(over)["code"], error_of(over)["param"]) == (413, "part_too_large", "data")
    assert objects(settings) == []
    assert send(alice, upload_id, b"x" * 1_000).status_code == 200


def test_an_upload_takes_only_so_much(alice: Person, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    upload_id = begun(alice, 5)
    sent(alice, upload_id, [b"x" * 8, b"x" * 7])

    assert error_of(send(alice, upload_id, b"x"))["code"] == "too_many_parts"
    assert len(objects(settings)) == 2

    monkeypatch.setattr(in_parts, "MOST_PARTS", 1)
    other = begun(alice, 5)
    assert [send(alice, other, b"x").status_code for _ in range(2)] == [200, 400]


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "invalid_request_error", "part_ids"),
        ({"part_ids": []}, "invalid_request_error", "part_ids"),
        ({"part_ids": [1]}, "invalid_request_error", "part_ids"),
        ({"part_ids": ["part_unknown"]}, "part_not_found", "part_ids"),
        ({"part_ids": [0, 1, 1]}, "invalid_request_error", "part_ids"),
        ({"part_ids": [0, 1]}, "bytes_mismatch", "part_ids"),
        ({"part_ids": [0, 1, 2], "md5": "0" * 32}, "md5_mismatch", "md5"),
        ({"part_ids": [1, 0, 2], "md5": hashlib.md5(CONTENT).hexdigest()}, "md5_mismatch", "md5"),
        ({"part_ids": [0, 1, 2], "md5": 5}, "invalid_request_error", "md5"),
    ],
)
def test_what_does_not_match_is_refused_and_can_be_mended(
    alice: Person, settings: Any, body: dict[str, Any], code: str, param: str
) -> None:
    upload_id = begun(alice)
    ids = sent(alice, upload_id)
    if len(body.get("part_ids", [])) > 1:
        body = body | {"part_ids": [ids[index] for index in body["part_ids"]]}

    refused = alice.client.post(f"/v1/uploads/{upload_id}/complete", body, format="json")

    assert refused.status_code == 400
    assert (error_of(refused)["code"], error_of(refused)["param"]) == (code, param)
    assert not File.objects.exists()
    assert len(objects(settings)) == 3
    assert complete(alice, upload_id, ids).status_code == 200


def test_another_uploads_part_is_not_found(alice: Person) -> None:
    mine, other = begun(alice), begun(alice)

    assert error_of(complete(alice, mine, sent(alice, other)))["code"] == "part_not_found"


@pytest.mark.parametrize("end", [cancel, expire, "complete"])
def test_an_ended_upload_takes_nothing_more(alice: Person, end: Any) -> None:
    upload_id = begun(alice)
    ids = sent(alice, upload_id)
    ended = complete(alice, upload_id, ids) if end == "complete" else end(alice, upload_id)
    status = ended.json()["status"] if ended else "expired"

    for refused in (send(alice, upload_id, b"x"), complete(alice, upload_id, ids), cancel(alice, upload_id)):
        assert refused.status_code == 400
        assert error_of(refused) == {
            "message": f"Upload is {status}",
            "type": "invalid_request_error",
            "code": "upload_not_pending",
            "param": "upload_id",
        }
    assert File.objects.count() == (status == "completed")


def test_cancel_removes_what_was_received(alice: Person, settings: Any) -> None:
    upload_id = begun(alice)
    sent(alice, upload_id)

    assert cancel(alice, upload_id).json()["status"] == "cancelled"

    assert objects(settings) == []
    assert not UploadPart.objects.exists()


def test_bob_may_go_on_and_charlie_learns_nothing(alice: Person, bob: Person, charlie: Person) -> None:
    upload_id = begun(alice)
    ids = sent(bob, upload_id)

    for call in (send(charlie, upload_id, b"x"), complete(charlie, upload_id, ids), cancel(charlie, upload_id)):
        assert call.status_code == 404
        assert error_of(call)["message"] == f"Upload not found: {upload_id}"
        assert error_of(call)["code"] == "upload_not_found"
    assert complete(bob, upload_id, ids).status_code == 200


@pytest.mark.parametrize("upload_id", ["upload_unknown", "x" * 3_000, "upload_%00", "😀"])
def test_a_bad_id_is_not_found(alice: Person, upload_id: str) -> None:
    for call in (send(alice, upload_id, b"x"), complete(alice, upload_id, ["part_a"]), cancel(alice, upload_id)):
        assert call.status_code == 404
        error_of(call)


# What happens to the upload between the last byte of a part, or of the joined file, and the UPDATE that counts it in.
RIVALS: dict[str, Callable[[Person, str, list[str]], Any]] = {
    "cancelled": lambda person, upload_id, _: cancel(person, upload_id),
    "completed": complete,
    "expired": lambda person, upload_id, _: expire(person, upload_id),
}


@pytest.mark.parametrize("rival", RIVALS)
@pytest.mark.parametrize("act", ["add", "complete"])
def test_of_two_that_come_at_once_the_later_is_refused(
    alice: Person, settings: Any, monkeypatch: pytest.MonkeyPatch, act: str, rival: str
) -> None:
    upload_id = begun(alice)
    ids = sent(alice, upload_id)
    name, rivals = {"add": "store", "complete": "join"}[act], [rival]
    work = getattr(storage, name)

    def work_and_be_overtaken(*arguments: Any, **options: Any) -> Any:
        done = work(*arguments, **options)
        if rivals:
            RIVALS[rivals.pop()](alice, upload_id, ids)
        return done

    monkeypatch.setattr(storage, name, work_and_be_overtaken)
    refused = send(alice, upload_id, b"x") if act == "add" else complete(alice, upload_id, ids)

    assert refused.status_code == 400
    assert error_of(refused)["message"] == f"Upload is {rival}"
    sweeps.purge()
    assert [path.stem for path in objects(settings)] == list(File.objects.values_list("pk", flat=True))
    assert File.objects.count() == (rival == "completed")


def test_parts_that_vanish_while_they_are_joined_are_explained(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    upload_id = begun(alice)
    ids = sent(alice, upload_id)
    join = storage.join

    def overtaken(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(storage, "join", join)
        assert complete(alice, upload_id, ids).status_code == 200
        return join(*arguments, **options)

    monkeypatch.setattr(storage, "join", overtaken)

    assert error_of(complete(alice, upload_id, ids))["message"] == "Upload is completed"


def test_lost_bytes_are_a_storage_error_and_never_a_file(alice: Person) -> None:
    for break_it in (storage.remove, lambda key: storage.store_bytes(key, b"x")):
        upload_id = begun(alice)
        ids = sent(alice, upload_id)
        break_it(storage.upload_part_key(ids[1]))

        response = complete(alice, upload_id, ids)

        assert (response.status_code, error_of(response)["code"]) == (500, "storage_error")
    assert not File.objects.exists()


def test_the_purge_removes_what_nobody_completed(alice: Person, settings: Any) -> None:
    overdue, going_on = begun(alice), begun(alice)
    sent(alice, overdue)
    kept = sent(alice, going_on)
    expire(alice, overdue)

    sweeps.purge()

    assert Upload.objects.get(pk=overdue).status == UploadStatus.EXPIRED
    assert sorted(path.stem for path in objects(settings)) == sorted(kept)
    assert complete(alice, going_on, kept).status_code == 200


def test_the_purge_mends_a_removal_that_failed(alice: Person, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    upload_id = begun(alice)
    ids = sent(alice, upload_id)

    def broken(*_: Any) -> None:
        raise StorageError

    with monkeypatch.context() as patched:
        patched.setattr(storage, "remove_all", broken)
        done = complete(alice, upload_id, ids)
    assert done.status_code == 200
    assert len(objects(settings)) == 4

    sweeps.purge()

    assert [path.stem for path in objects(settings)] == [done.json()["file"]["id"]]
