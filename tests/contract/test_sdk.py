"""The official SDK against a live server and real workers."""

import hashlib
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.conftest import jsonl, line
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack, finished, submit, wait_for_cancel_to_be_seen


@pytest.fixture
def sdk(stack: Stack) -> OpenAI:
    """As most people write it: `OpenAI(base_url=..., api_key=...)`."""
    return stack.sdk()


@pytest.fixture
def stranger(stack: Stack) -> OpenAI:
    """Somebody else's project."""
    return stack.sdk(stack.new_tenant(f"stranger {uuid.uuid4()}").api_key)


def test_a_batch_from_upload_to_results(sdk: OpenAI) -> None:
    lines = [line(f"question {number}") for number in range(30)]
    stored = sdk.files.create(file=("questions.jsonl", jsonl(lines)), purpose="batch")
    assert (stored.filename, stored.purpose, stored.bytes) == ("questions.jsonl", "batch", len(jsonl(lines)))

    batch = sdk.batches.create(
        input_file_id=stored.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"k": "v"}
    )
    assert batch.status == "in_progress"
    assert batch.metadata == {"k": "v"}

    ended = finished(sdk, batch)

    assert ended.status == "completed"
    assert ended.completed_at is not None
    assert ended.request_counts is not None
    assert (ended.request_counts.completed, ended.request_counts.failed) == (30, 0)
    assert ended.error_file_id is None
    assert ended.usage is not None
    assert ended.usage.total_tokens > 0
    assert ended.output_file_id is not None
    rows = [json.loads(row) for row in sdk.files.content(ended.output_file_id).text.splitlines()]
    answers = {row["custom_id"]: row["response"]["body"]["choices"][0]["message"]["content"] for row in rows}
    assert answers == {f"question {number}": f"question {number}" for number in range(30)}
    assert sdk.files.retrieve(ended.output_file_id).purpose == "batch_output"


def test_a_file_in_parts(sdk: OpenAI, tmp_path: Path) -> None:
    content = jsonl(line(f"question {number}") for number in range(2_000))
    path = tmp_path / "questions.jsonl"
    path.write_bytes(content)

    upload = sdk.uploads.upload_file_chunked(
        file=path,
        mime_type="application/jsonl",
        purpose="batch",
        part_size=100_000,
        md5=hashlib.md5(content).hexdigest(),
    )

    assert upload.status == "completed"
    assert upload.file is not None
    assert (upload.file.filename, upload.file.bytes) == ("questions.jsonl", len(content))
    assert sdk.files.content(upload.file.id).content == content
    batch = sdk.batches.create(input_file_id=upload.file.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert batch.request_counts is not None
    assert batch.request_counts.total == 2_000
    sdk.batches.cancel(batch.id)


def test_parts_at_once_and_one_of_many_who_complete(sdk: OpenAI) -> None:
    blocks = [bytes([number]) * 50_000 for number in range(16)]
    upload = sdk.uploads.create(bytes=800_000, filename="a.jsonl", mime_type="application/jsonl", purpose="batch")

    def send(block: bytes) -> str:
        return sdk.uploads.parts.create(upload.id, data=block).id

    def complete(_: int) -> str | None:
        try:
            completed = sdk.uploads.complete(upload.id, part_ids=part_ids)
        except openai.BadRequestError as refused:
            assert refused.code == "upload_not_pending"
            return None
        assert completed.file is not None
        return completed.file.id

    with ThreadPoolExecutor(8) as threads:
        part_ids = list(threads.map(send, blocks))
        file_ids = [file_id for file_id in threads.map(complete, range(8)) if file_id]

    (file_id,) = file_ids
    assert sdk.files.content(file_id).content == b"".join(blocks)


def test_a_cancelled_upload_takes_nothing_more(sdk: OpenAI) -> None:
    upload = sdk.uploads.create(bytes=1, filename="a.jsonl", mime_type="application/jsonl", purpose="batch")

    assert sdk.uploads.cancel(upload.id).status == "cancelled"

    with pytest.raises(openai.BadRequestError):
        sdk.uploads.parts.create(upload.id, data=b"x")


def test_the_key_may_travel_as_zerogpu_sends_it(stack: Stack) -> None:
    headers = {"x-api-key": stack.api_key, "x-project-id": stack.env["ZEROBATCH_PROJECT_ID"]}
    sdk = stack.sdk("unused", default_headers=headers)

    assert finished(sdk, submit(sdk, jsonl([line()]))).status == "completed"


def test_the_list_pages_by_itself(stranger: OpenAI) -> None:
    stored = stranger.files.create(file=("a.jsonl", jsonl([line()])), purpose="batch")
    created = [
        stranger.batches.create(input_file_id=stored.id, endpoint="/v1/chat/completions", completion_window="24h").id
        for _ in range(25)
    ]

    assert [batch.id for batch in stranger.batches.list(limit=10)] == created[::-1]


def test_files_page_filter_and_go(stranger: OpenAI) -> None:
    created = [stranger.files.create(file=("a.jsonl", b"{}"), purpose="batch").id for _ in range(5)]

    assert [stored.id for stored in stranger.files.list(limit=2)] == created[::-1]
    assert [stored.id for stored in stranger.files.list(limit=2, order="asc", purpose="batch")] == created
    assert stranger.files.delete(created[0]).deleted is True
    with pytest.raises(openai.NotFoundError):
        stranger.files.retrieve(created[0])
    assert [stored.id for stored in stranger.files.list()] == created[:0:-1]


def test_cancel_keeps_what_was_sent(stack: Stack, sdk: OpenAI, witness: FakeUpstream) -> None:
    lines = [line(str(number), body={"model": "echo", "messages": []}) for number in range(400)]
    before = witness.request_count
    witness.gate.close()
    try:
        batch = submit(sdk, jsonl(lines))
        witness.wait_for_requests(before + 50)
        assert sdk.batches.cancel(batch.id).status == "cancelling"
        assert sdk.batches.cancel(batch.id).status == "cancelling"
        wait_for_cancel_to_be_seen(stack, batch)
    finally:
        witness.gate.open()

    ended = finished(sdk, batch)

    assert ended.status == "cancelled"
    assert ended.cancelled_at is not None
    assert ended.request_counts is not None
    assert ended.request_counts.completed >= 50
    assert ended.request_counts.completed + ended.request_counts.failed == 400
    codes = [json.loads(row)["error"]["code"] for row in sdk.files.content(ended.error_file_id or "").text.splitlines()]
    assert set(codes) == {"batch_cancelled"}
    assert len(codes) == ended.request_counts.failed
    assert sdk.batches.cancel(batch.id).status == "cancelled"


def test_a_completed_batch_cannot_be_cancelled(sdk: OpenAI) -> None:
    batch = finished(sdk, submit(sdk, jsonl([line()])))

    with pytest.raises(openai.ConflictError) as refused:
        sdk.batches.cancel(batch.id)
    assert refused.value.code == "batch_not_cancellable"


def test_errors_are_the_sdks_errors(stack: Stack, sdk: OpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError) as forbidden:
        stack.sdk("zb_nothing").batches.list()
    with pytest.raises(openai.NotFoundError) as missing:
        sdk.batches.retrieve("batch_missing")
    with pytest.raises(openai.BadRequestError) as invalid:
        submit(sdk, jsonl([line("a"), line("a")]))

    assert forbidden.value.code == "invalid_credentials"
    assert missing.value.code == "batch_not_found"
    assert missing.value.request_id is not None
    assert missing.value.request_id.startswith("req_")
    body: Any = invalid.value.body
    assert body["message"] == 'Line 2 duplicates custom_id "a"'
    assert body["line"] == 2
    failed = sdk.batches.retrieve(body["batch_id"])
    assert failed.status == "failed"
    assert failed.errors is not None
    assert failed.errors.data is not None
    assert failed.errors.data[0].line == 2


def test_a_stranger_learns_nothing(sdk: OpenAI, stranger: OpenAI) -> None:
    batch = finished(sdk, submit(sdk, jsonl([line()])))

    assert [found.id for found in stranger.batches.list()] == []
    assert [found.id for found in stranger.files.list()] == []
    for call in (
        lambda: stranger.batches.retrieve(batch.id),
        lambda: stranger.batches.cancel(batch.id),
        lambda: stranger.files.content(batch.output_file_id or ""),
        lambda: stranger.files.delete(batch.input_file_id),
        lambda: stranger.batches.create(
            input_file_id=batch.input_file_id, endpoint="/v1/chat/completions", completion_window="24h"
        ),
    ):
        with pytest.raises(openai.NotFoundError):
            call()


def test_a_download_resumes(stack: Stack, sdk: OpenAI) -> None:
    stored = sdk.files.create(file=("a.jsonl", b"0123456789"), purpose="batch")

    rest = stack.get(f"/v1/files/{stored.id}/content", **{"x-api-key": stack.api_key, "range": "bytes=4-"})

    assert (rest.status_code, rest.content) == (206, b"456789")
