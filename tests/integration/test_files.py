"""The five endpoints of /v1/files (wire.md §4)."""

import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone

from apps.batches import lifecycle
from apps.batches.states import BatchStatus
from apps.files.models import File
from tests.conftest import Person, both_storages, create_batch, error_of, jsonl, line, upload, uploaded

pytestmark = pytest.mark.django_db

CONTENT = jsonl([line("a"), line("b")])


def content_of(person: Person, file_id: str, **headers: Any) -> Any:
    return person.client.get(f"/v1/files/{file_id}/content", **headers)


@both_storages
def test_it_stores_the_bytes_as_they_are(alice: Person) -> None:
    response = upload(alice, b"not even JSON \x00\xff", "my input.jsonl")

    body = response.json()
    assert response.status_code == 200
    assert body["id"].startswith("file-")
    assert body == {
        "id": body["id"],
        "object": "file",
        "bytes": 16,
        "created_at": body["created_at"],
        "filename": "my input.jsonl",
        "purpose": "batch",
        "status": "processed",
        "expires_at": body["created_at"] + 30 * 24 * 60 * 60,
    }
    assert content_of(alice, body["id"]).getvalue() == b"not even JSON \x00\xff"


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"purpose": "fine-tune"}, "invalid_purpose"),
        ({"purpose": ""}, "invalid_purpose"),
        ({"file": "text, not a file"}, "missing_file"),
        ({"expires_after[anchor]": "now", "expires_after[seconds]": "3600"}, "invalid_request_error"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "3599"}, "invalid_request_error"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "2592001"}, "invalid_request_error"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "soon"}, "invalid_request_error"),
    ],
)
def test_a_bad_form_is_refused(alice: Person, form: dict[str, Any], code: str) -> None:
    response = upload(alice, CONTENT, **form)

    assert response.status_code == 400
    assert error_of(response)["code"] == code
    assert not File.objects.exists()


def test_an_empty_file_is_refused(alice: Person) -> None:
    assert error_of(upload(alice, b""))["code"] == "empty_file"


def test_a_body_that_is_not_multipart_is_refused(alice: Person) -> None:
    response = alice.client.post("/v1/files", b"{}", content_type="application/json")

    assert response.status_code == 400
    assert error_of(response)["code"] == "invalid_content_type"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"--x--"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nab',
        ),
        ("multipart/form-data; boundary=\xff", b"--x--"),
    ],
)
def test_a_broken_multipart_body_is_refused(alice: Person, content_type: str, body: bytes) -> None:
    response = alice.client.post("/v1/files", body, content_type=content_type)

    assert response.status_code == 400
    assert error_of(response)["code"] == "invalid_multipart"
    assert not File.objects.exists()


def test_a_multipart_epilogue_is_allowed(alice: Person) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
    body = part % (b"purpose", b"", b"batch") + part % (b"file", b'; filename="a"', b"{}") + b"--x--\r\nepilogue"

    assert alice.client.post("/v1/files", body, content_type="multipart/form-data; boundary=x").status_code == 200


def test_unknown_fields_and_files_are_ignored(alice: Person) -> None:
    other = io.BytesIO(b"x" * 100)
    other.name = "other.bin"

    assert upload(alice, CONTENT, surprise="x", attachment=other).status_code == 200


def test_an_upload_may_have_a_hundred_mebibytes_and_no_more(alice: Person, settings: Any) -> None:
    block = b"x" * 1_048_575 + b"\n"
    exact = upload(alice, block * 100)
    assert exact.status_code == 200
    assert exact.json()["bytes"] == 104_857_600

    over = upload(alice, block * 100 + b"x")

    assert over.status_code == 413
    assert error_of(over)["code"] == "file_too_large"
    assert File.objects.count() == 1
    assert not list(Path(settings.SPOOL_DIR).iterdir()), "nothing of a refused upload stays"


def test_expires_after_is_honoured(alice: Person) -> None:
    body = upload(alice, CONTENT, **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}).json()

    assert body["expires_at"] == body["created_at"] + 3_600


def test_a_file_past_its_expiry_is_gone_at_once(alice: Person) -> None:
    file_id = uploaded(alice, CONTENT)
    File.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert alice.client.get(f"/v1/files/{file_id}").status_code == 404
    assert content_of(alice, file_id).status_code == 404
    assert alice.client.delete(f"/v1/files/{file_id}").status_code == 404
    assert alice.client.get("/v1/files").json()["data"] == []


@pytest.mark.parametrize(
    "filename", ['a"b.jsonl', "søk 😀.jsonl", "a;b\\c.jsonl", "x" * 300 + ".jsonl", "%0d%0a.jsonl"]
)
def test_the_download_is_an_attachment_with_a_safe_name(alice: Person, filename: str) -> None:
    file_id = upload(alice, CONTENT, filename).json()["id"]

    response = content_of(alice, file_id)

    assert response["Content-Type"] == "application/jsonl"
    assert response["Content-Length"] == str(len(CONTENT))
    assert response["Content-Disposition"].startswith("attachment")
    assert "\n" not in response["Content-Disposition"]
    assert response.getvalue() == CONTENT


@both_storages
@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-4", slice(0, 5)),
        ("bytes=5-", slice(5, None)),
        ("bytes=-5", slice(-5, None)),
        ("bytes=3-99999", slice(3, None)),
    ],
)
def test_one_range_is_served(alice: Person, header: str, expected: slice) -> None:
    response = content_of(alice, uploaded(alice, CONTENT), HTTP_RANGE=header)

    assert response.status_code == 206
    assert response.getvalue() == CONTENT[expected]
    assert response["Content-Range"].endswith(f"/{len(CONTENT)}")
    assert response["Content-Length"] == str(len(CONTENT[expected]))


@pytest.mark.parametrize("header", ["bytes=0-1,3-4", "lines=1-2", "bytes=-", "bytes=5-4", "nonsense"])
def test_other_ranges_are_ignored(alice: Person, header: str) -> None:
    response = content_of(alice, uploaded(alice, CONTENT), HTTP_RANGE=header)

    assert response.status_code == 200
    assert response.getvalue() == CONTENT


@pytest.mark.parametrize("header", ["bytes=99999-", "bytes=-0"])
def test_a_range_outside_the_file_is_refused(alice: Person, header: str) -> None:
    response = content_of(alice, uploaded(alice, CONTENT), HTTP_RANGE=header)

    assert response.status_code == 416
    assert response["Content-Range"] == f"bytes */{len(CONTENT)}"
    error_of(response)


@both_storages
def test_a_missing_object_is_a_storage_error(alice: Person) -> None:
    file_id = uploaded(alice, CONTENT)
    default_storage.delete(File.objects.get(pk=file_id).object_key)

    response = content_of(alice, file_id)

    assert response.status_code == 500
    assert error_of(response)["code"] == "storage_error"


def test_the_list_is_newest_first_and_pages(alice: Person) -> None:
    ids = [uploaded(alice, CONTENT) for _ in range(3)]

    first = alice.client.get("/v1/files?limit=2").json()
    second = alice.client.get(f"/v1/files?limit=2&after={first['last_id']}").json()
    oldest_first = alice.client.get("/v1/files?order=asc").json()

    assert first["object"] == "list"
    assert [row["id"] for row in first["data"]] == [ids[2], ids[1]]
    assert (first["first_id"], first["last_id"], first["has_more"]) == (ids[2], ids[1], True)
    assert [row["id"] for row in second["data"]] == [ids[0]]
    assert second["has_more"] is False
    assert [row["id"] for row in oldest_first["data"]] == ids


def test_paging_goes_on_from_a_file_deleted_meanwhile(alice: Person) -> None:
    ids = [uploaded(alice, CONTENT) for _ in range(3)]
    alice.client.delete(f"/v1/files/{ids[1]}")

    rest = alice.client.get(f"/v1/files?after={ids[1]}").json()

    assert [row["id"] for row in rest["data"]] == [ids[0]]


def test_an_empty_list_has_null_ids(alice: Person) -> None:
    empty: dict[str, Any] = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    assert alice.client.get("/v1/files").json() == empty


def test_the_list_filters_by_purpose(alice: Person) -> None:
    uploaded(alice, CONTENT)

    assert len(alice.client.get("/v1/files?purpose=batch").json()["data"]) == 1
    assert alice.client.get("/v1/files?purpose=batch_output").json()["data"] == []
    assert alice.client.get("/v1/files?purpose=%00").json()["data"] == []


@pytest.mark.parametrize("limit", ["0", "-1", "abc", "1.5", "9" * 1001, "٣"])
def test_a_bad_limit_is_refused(alice: Person, limit: str) -> None:
    response = alice.client.get("/v1/files", {"limit": limit})

    assert response.status_code == 400
    assert error_of(response)["code"] == "invalid_limit"


def test_a_bad_order_or_cursor_is_refused(alice: Person) -> None:
    assert alice.client.get("/v1/files?order=up").status_code == 400
    unknown = alice.client.get("/v1/files?after=file-unknown")
    assert unknown.status_code == 404
    assert error_of(unknown)["message"] == "File file-unknown not found"


@both_storages
def test_delete_removes_the_object_and_keeps_the_row(alice: Person) -> None:
    file_id = uploaded(alice, CONTENT)
    key = File.objects.get(pk=file_id).object_key

    response = alice.client.delete(f"/v1/files/{file_id}")

    assert response.json() == {"id": file_id, "object": "file", "deleted": True}
    assert not default_storage.exists(key)
    assert File.objects.get(pk=file_id).object_removed_at is not None
    for again in (alice.client.get, alice.client.delete):
        gone = again(f"/v1/files/{file_id}")
        assert gone.status_code == 404
        assert error_of(gone)["message"] == f"File {file_id} not found"
        assert error_of(gone)["code"] == "file_not_found"


@both_storages
def test_the_bytes_stay_while_a_batch_reads_them(alice: Person) -> None:
    file_id = uploaded(alice, CONTENT)
    key = File.objects.get(pk=file_id).object_key
    batch_id = create_batch(alice, file_id).json()["id"]

    assert alice.client.delete(f"/v1/files/{file_id}").status_code == 200
    assert alice.client.get(f"/v1/files/{file_id}").status_code == 404
    assert default_storage.exists(key)

    lifecycle.move(batch_id, BatchStatus.CANCELLING)
    lifecycle.move(batch_id, BatchStatus.CANCELLED)
    assert File.objects.get(pk=file_id).readers == 0


@pytest.mark.parametrize("file_id", ["file-unknown", "x" * 3_000, "file-%00", "..", "file-😀", "%ff"])
def test_a_bad_id_is_not_found(alice: Person, file_id: str) -> None:
    for path in (f"/v1/files/{file_id}", f"/v1/files/{file_id}/content"):
        response = alice.client.get(path)
        assert response.status_code == 404
        error_of(response)


def test_bob_sees_what_alice_uploaded_and_charlie_does_not(alice: Person, bob: Person, charlie: Person) -> None:
    file_id = uploaded(alice, CONTENT)

    assert bob.client.get(f"/v1/files/{file_id}").status_code == 200
    assert charlie.client.get("/v1/files").json()["data"] == []
    never_existed = error_of(charlie.client.get("/v1/files/file-unknown"))
    for call in (
        charlie.client.get(f"/v1/files/{file_id}"),
        charlie.client.get(f"/v1/files/{file_id}/content"),
        charlie.client.delete(f"/v1/files/{file_id}"),
        charlie.client.get(f"/v1/files?after={file_id}"),
    ):
        assert call.status_code == 404
        error = error_of(call)
        assert error["message"] == never_existed["message"].replace("file-unknown", file_id)
        assert error["code"] == never_existed["code"]
    assert content_of(alice, file_id).getvalue() == CONTENT


def test_a_full_disk_is_a_storage_error_and_leaves_nothing(
    alice: Person, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    for broken in ("os.fsync", "django.core.files.storage.FileSystemStorage.save"):
        with monkeypatch.context() as patched:
            patched.setattr(broken, full)
            response = upload(alice, CONTENT)
        assert response.status_code == 500
        assert error_of(response)["code"] == "storage_error"
    assert not File.objects.exists()
    assert not [path for path in settings.STORAGE_DIR.rglob("*") if path.is_file()]
