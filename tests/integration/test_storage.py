"""What the storage does with bytes, in a folder and in a bucket of a real S3 server alike; and what S3 adds to it."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError
from django.core.files.storage import default_storage

from apps.api.errors import StorageError
from apps.batches import sweeps as batches
from apps.files import bucket, storage, sweeps
from apps.files.bucket import LEAST_PART_BYTES, PART_BYTES, Bucket
from apps.files.models import UploadPart
from apps.files.storage import Md5Differs, Source, Spool
from tests.conftest import Person, both_storages, in_a_bucket, uploaded
from tests.fakes import raw
from tests.integration.conftest import ask, new_batch, results, run_batch
from tests.integration.test_uploads import begun, complete, sent

s3: Any = default_storage
"""Where it is a bucket."""
TEN = b"0123456789"
LARGE = LEAST_PART_BYTES + 3


def put(key: str, data: bytes = TEN) -> Source:
    """Stores it, as something that was received."""
    with Spool() as spool:
        spool.write(data)
        storage.store(key, spool)
    return Source(key, len(data))


def whole(key: str) -> bytes:
    with storage.open_object(key) as stream:
        return stream.read()


@contextmanager
def requests_to(found: Bucket) -> Iterator[Counter[str]]:
    """Operation → requests sent to S3 while the block lasts, repeated ones included."""
    sent: Counter[str] = Counter()

    def count(request: Any, event_name: str, **_: Any) -> None:
        sent[event_name.rpartition(".")[2]] += 1

    found.client.meta.events.register("before-send.s3", count)
    try:
        yield sent
    finally:
        found.client.meta.events.unregister("before-send.s3", count)


@both_storages
def test_an_object_is_read_whole_or_in_ranges() -> None:
    put("files/a.jsonl")
    storage.store_bytes("files/b.jsonl", b"one\ntwo\n")

    assert whole("files/a.jsonl") == TEN
    assert storage.read_range("files/a.jsonl", 2, 5) == b"234"
    with storage.open_object("files/a.jsonl", 7) as stream:
        assert stream.read() == b"789"
    assert b"".join(storage.blocks(storage.open_object("files/a.jsonl", 2, 6), 4)) == b"2345"
    with storage.open_object("files/b.jsonl") as stream:
        assert [stream.readline(), stream.readline(), stream.readline()] == [b"one\n", b"two\n", b""]
    assert storage.names_in("files") == ["a.jsonl", "b.jsonl"]
    assert storage.names_in("nowhere") == []


@both_storages
def test_what_is_written_again_replaces_what_was_there() -> None:
    put("files/a.jsonl", b"old")
    put("files/a.jsonl", b"new one")

    assert whole("files/a.jsonl") == b"new one"


@both_storages
def test_what_is_not_there_is_told_from_what_failed() -> None:
    put("files/a.jsonl")

    for read in (lambda key: storage.read_range(key, 0, 1), storage.open_object):
        with pytest.raises(FileNotFoundError):
            read("files/nowhere.jsonl")
    for start, end in ((5, 11), (10, 11), (20, 30)):
        with pytest.raises(StorageError):
            storage.read_range("files/a.jsonl", start, end)


@both_storages
@pytest.mark.parametrize(
    "lengths",
    [
        [10, 20],
        [LEAST_PART_BYTES + 1],
        [LARGE, 10, LARGE, 2 * LARGE, 20],
        [PART_BYTES - 10, 20, LARGE],
    ],
)
def test_objects_are_joined_in_order(lengths: list[int]) -> None:
    contents = [bytes([97 + number]) * length for number, length in enumerate(lengths)]
    sources = [put(f"uploads/{number}.part", content) for number, content in enumerate(contents)]
    md5 = hashlib.md5(b"".join(contents)).hexdigest().upper()

    assert storage.join("files/a.jsonl", sources) == sum(lengths)
    assert whole("files/a.jsonl") == b"".join(contents)
    assert storage.join("files/b.jsonl", sources, md5=md5) == sum(lengths)


@both_storages
def test_nothing_is_made_of_objects_that_are_missing_short_or_not_what_they_should_be() -> None:
    good, large = put("uploads/good.part"), put("uploads/large.part", b"x" * LARGE)
    missing, short = Source("uploads/missing.part", LARGE), Source(large.key, LARGE + 1)

    for sources in ([missing], [large, missing], [good, large, missing._replace(length=1)]):
        with pytest.raises(FileNotFoundError):
            storage.join("files/a.jsonl", sources)
    for sources in ([good._replace(length=11)], [short], [large, short], [large, good._replace(length=11)]):
        with pytest.raises(StorageError):
            storage.join("files/a.jsonl", sources)
    with pytest.raises(Md5Differs) as differs:
        storage.join("files/a.jsonl", [good], md5="0" * 32)
    assert differs.value.found == hashlib.md5(TEN).hexdigest()
    assert storage.join("files/a.jsonl", []) == 0
    assert storage.names_in("files") == []


@both_storages
def test_a_folder_of_any_size_is_cleared_and_nothing_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((storage, "A_PAGE"), (bucket, "MOST_IN_A_REQUEST")):
        monkeypatch.setattr(module, name, 3)
    for number in range(7):
        put(f"batches/one/parts/{number}.jsonl")
    put("batches/one/output.jsonl")
    put("batches/one/parts.jsonl")

    assert [len(page) for page in storage.pages("batches/one/parts")] == [3, 3, 1]
    storage.clear("batches/one/parts")
    storage.clear("batches/one/parts")
    storage.remove("batches/one/parts/0.jsonl")

    assert storage.names_in("batches/one/parts") == []
    assert storage.names_in("batches/one") == ["output.jsonl", "parts.jsonl"]


@both_storages
@pytest.mark.django_db
def test_the_purge_removes_the_folders_of_batches_that_nobody_knows(
    alice: Person, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "A_PAGE", 2)
    monkeypatch.setattr(bucket, "MOST_IN_A_REQUEST", 2)
    known = new_batch(alice, [ask("echo")])
    put(storage.part_key(known.pk, 0, 1, "output"))
    unknown = [f"batch_{number:024x}" for number in range(3)]
    for batch_id in unknown:
        put(storage.result_key(batch_id, "output"))
        put(storage.part_key(batch_id, 0, 1, "output"))
    put("batches/reports/2026.pdf")

    batches.purge()
    assert storage.exists(storage.result_key(unknown[0], "output")), "it may be about to be registered"

    monkeypatch.setattr(sweeps, "ORPHAN_AGE", timedelta(seconds=-2))
    batches.purge()

    if settings.STORAGE == "folder":  # SeaweedFS goes on listing folders in which nothing is left
        assert [name for page in storage.folders_in("batches") for name in page] == [known.pk, "reports"]
    for batch_id in unknown:
        assert not storage.names_in(storage.batch_folder(batch_id))
        assert not storage.names_in(storage.parts_folder(batch_id))
    assert storage.exists(storage.part_key(known.pk, 0, 1, "output"))
    assert storage.exists("batches/reports/2026.pdf")


@both_storages
@pytest.mark.django_db
def test_the_purge_removes_what_has_no_row_and_is_old(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, going_on = uploaded(alice, TEN), begun(alice)
    part_ids = sent(alice, going_on)
    put("files/file-orphan.jsonl")
    put("uploads/part_orphan.part")
    put("files/somebody-else.pdf")

    sweeps.purge()
    assert "file-orphan.jsonl" in storage.names_in("files"), "it may be about to be registered"

    # S3 tells the time of writing by the second, and no object can be made to look old.
    monkeypatch.setattr(sweeps, "ORPHAN_AGE", timedelta(seconds=-2))
    sweeps.purge()

    assert storage.names_in("files") == [f"{kept}.jsonl", "somebody-else.pdf"]
    assert storage.names_in("uploads") == sorted(f"{part_id}.part" for part_id in part_ids)
    assert complete(alice, going_on, part_ids).status_code == 200
    assert not UploadPart.objects.exists()


@both_storages
@pytest.mark.django_db(transaction=True)
def test_a_batch_from_upload_to_download(alice: Person, upstream: Any) -> None:
    lines = [ask("echo", f"line {number}") for number in range(250)] + [ask("status-400", "bad")]

    batch = run_batch(new_batch(alice, lines))

    assert batch.status == "completed"
    assert list(results(alice, batch.output_file_id)) == [line["custom_id"] for line in lines[:-1]]
    assert list(results(alice, batch.error_file_id)) == ["bad"]
    assert storage.names_in(storage.parts_folder(batch.pk)) == []


@in_a_bucket
def test_a_range_is_all_that_is_asked_for() -> None:
    put("files/a.jsonl", b"x" * 1_000_000)
    asked: list[str] = []

    def note(request: Any, **_: Any) -> None:
        asked.append(request.headers["Range"].decode())

    s3.client.meta.events.register_first("before-send.s3.GetObject", note)
    try:
        storage.read_range("files/a.jsonl", 10, 20)
        with storage.open_object("files/a.jsonl", 5, 15) as stream:
            stream.read()
    finally:
        s3.client.meta.events.unregister("before-send.s3.GetObject", note)

    assert asked == ["bytes=10-19", "bytes=5-14"]


@in_a_bucket
def test_no_body_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    put("files/a.jsonl", b"what somebody asked")
    assert whole("files/a.jsonl")

    assert "what somebody asked" not in caplog.text


@in_a_bucket
def test_large_objects_are_joined_by_the_server() -> None:
    sources = [put(f"uploads/{number}.part", b"x" * LARGE) for number in range(3)]

    with requests_to(s3) as sent_requests:
        storage.join("files/a.jsonl", sources)

    assert sent_requests == {
        "CreateMultipartUpload": 1,
        "UploadPartCopy": 3,
        "CompleteMultipartUpload": 1,
        "HeadObject": 1,
    }


@in_a_bucket
def test_many_objects_are_removed_by_one_request() -> None:
    for number in range(20):
        put(f"batches/one/parts/{number}.jsonl", b"x")

    with requests_to(s3) as sent_requests:
        storage.clear("batches/one/parts")

    assert sent_requests == {"ListObjectsV2": 1, "DeleteObjects": 1}


@in_a_bucket
@pytest.mark.django_db
def test_the_purge_drops_what_a_dead_process_was_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    client, named = s3.client, s3.full("files/a.jsonl")
    begun_upload = named | {"UploadId": client.create_multipart_upload(**named)["UploadId"]}
    client.upload_part(**begun_upload, PartNumber=1, Body=TEN)

    sweeps.purge()
    assert client.list_parts(**begun_upload)["Parts"]

    monkeypatch.setattr(sweeps, "ORPHAN_AGE", timedelta(seconds=-2))
    sweeps.purge()
    with pytest.raises(ClientError, match="NoSuchUpload"):
        client.list_parts(**begun_upload)


@in_a_bucket
def test_a_stream_that_breaks_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "PAUSE_SECONDS", 0)
    head = b'HTTP/1.1 %b\r\netag: "one"\r\ncontent-length: %d\r\n\r\n'

    with raw.serving(in_turn(head % (b"200 OK", 10) + b"0123", head % (b"206 OK", 6) + b"456789")) as server:
        stream = bucket.Stream(bucket_at(server.port), "files/a.jsonl")
        assert stream.readall() == TEN

    first, second = (request.lower() for request in server.requests)
    assert b"range:" not in first
    assert b"range: bytes=4-9" in second
    assert b'if-match: "one"' in second, "never the rest of another object"


@in_a_bucket
def test_a_stream_that_cannot_go_on_is_an_error_and_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "PAUSE_SECONDS", 0)
    half = b'HTTP/1.1 200 OK\r\netag: "one"\r\ncontent-length: 10\r\n\r\n0123'
    replaced = b"HTTP/1.1 412 Precondition Failed\r\ncontent-length: 0\r\n\r\n"

    with raw.serving(in_turn(half, replaced)) as server:
        stream = bucket.Stream(bucket_at(server.port), "files/a.jsonl")
        with pytest.raises(OSError, match="broke off at byte 4"):
            stream.readall()


def in_turn(*replies: bytes) -> raw.Script:
    """Each connection gets the next reply, and is closed."""

    async def play(connection: raw.Connection) -> None:
        await connection.request()
        await connection.say(replies[connection.server.connections - 1])

    return play


def bucket_at(port: int) -> Bucket:
    return Bucket(
        bucket_name="b",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        addressing_style="auto",
        access_key="a",
        secret_key="b",
    )


@in_a_bucket
@pytest.mark.django_db
def test_downloads_can_be_redirected_to_s3(alice: Person, settings: Any) -> None:
    file_id = uploaded(alice, TEN)
    path = f"/v1/files/{file_id}/content"
    assert alice.client.get(path).getvalue() == TEN

    settings.S3_REDIRECT_DOWNLOADS = True
    response = alice.client.get(path)

    assert response.status_code == 302
    assert response["Cache-Control"] == "no-store"
    got = requests.get(response["Location"], headers={"range": "bytes=2-4"}, timeout=10)
    assert (got.status_code, got.content) == (206, b"234")
    assert got.headers["content-type"] == "application/jsonl"
    assert got.headers["content-disposition"] == 'attachment; filename="input.jsonl"'
    assert alice.client.get(path, HTTP_RANGE="bytes=99-").status_code == 416


@in_a_bucket
def test_every_object_is_encrypted_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(s3.object_parameters, "ServerSideEncryption", "AES256")
    asked: dict[str, Any] = {}

    def note(request: Any, event_name: str, **_: Any) -> None:
        asked[event_name.rpartition(".")[2]] = request.headers.get("x-amz-server-side-encryption")

    s3.client.meta.events.register_first("before-send.s3", note)
    try:
        small, large = put("uploads/0.part"), put("uploads/1.part", b"x" * (PART_BYTES + 1))
        storage.store_bytes("files/a.jsonl", TEN)
        storage.join("files/b.jsonl", [large, small])
    finally:
        s3.client.meta.events.unregister("before-send.s3", note)

    assert asked["PutObject"] == asked["CreateMultipartUpload"] == b"AES256"
    assert whole("files/b.jsonl").endswith(TEN)


@in_a_bucket
def test_a_bucket_that_is_not_there_is_a_failure_and_not_an_empty_one() -> None:
    s3._wrapped = Bucket(
        bucket_name="nowhere",
        endpoint_url=s3.endpoint_url,
        region_name=s3.region_name,
        addressing_style="path",
        access_key=s3.access_key,
        secret_key=s3.secret_key,
    )

    for act in (lambda: storage.read_range("a", 0, 1), lambda: storage.names_in("a")):
        with pytest.raises(StorageError):
            act()
