"""POST /v1/batches: every message of wire.md §6, and what is stored."""

import json
from typing import Any

import pytest
from django.core.files.storage import default_storage

from apps.batches import tasks
from apps.batches.models import Batch, Chunk
from apps.files.models import File
from tests.conftest import Person, create_batch, error_of, jsonl, line, uploaded

pytestmark = pytest.mark.django_db


def refused(person: Person, content: bytes, **changes: Any) -> dict[str, Any]:
    response = create_batch(person, uploaded(person, content), **changes)
    assert response.status_code == 400, response.content
    return error_of(response)


def test_it_answers_with_a_durable_batch_in_progress(alice: Person) -> None:
    file_id = uploaded(alice, jsonl([line("a"), line("b")]))

    response = create_batch(alice, file_id, metadata={"team": "search"})

    body = response.json()
    assert response.status_code == 200
    assert body["status"] == "in_progress"
    assert body["request_counts"] == {"total": 2, "completed": 0, "failed": 0}
    assert body["input_file_id"] == file_id
    assert body["model"] == "echo"
    assert body["metadata"] == {"team": "search"}
    assert body["errors"] is None
    assert body["expires_at"] - body["created_at"] == 24 * 60 * 60
    assert Chunk.objects.get(batch=body["id"]).lines == 2


@pytest.mark.parametrize(
    ("changes", "message", "param"),
    [
        ({"input_file_id": None}, "input_file_id is required", "input_file_id"),
        ({"input_file_id": 7}, "input_file_id is required", "input_file_id"),
        ({"endpoint": None}, "endpoint is required", "endpoint"),
        ({"endpoint": ["/v1/chat/completions"]}, "endpoint is required", "endpoint"),
        ({"completion_window": "1h"}, 'completion_window must be "24h"', "completion_window"),
        ({"completion_window": 24}, 'completion_window must be "24h"', "completion_window"),
        ({"metadata": ["a"]}, "metadata must be an object", "metadata"),
        ({"metadata": "a"}, "metadata must be an object", "metadata"),
        ({"metadata": {"a": "x" * 16_400}}, "metadata must be an object", "metadata"),
    ],
)
def test_a_bad_field_is_refused_and_stores_nothing(
    alice: Person, changes: dict[str, Any], message: str, param: str
) -> None:
    response = create_batch(alice, "file-x", **changes)

    assert response.status_code == 400
    assert error_of(response)["message"] == message
    assert error_of(response)["param"] == param
    assert not Batch.objects.exists()


def test_the_window_may_be_left_out(alice: Person) -> None:
    assert create_batch(alice, uploaded(alice, jsonl([line()])), completion_window=None).status_code == 200


@pytest.mark.parametrize("file_id", ["file-unknown", "", "file-\x00", "x" * 5_000, "../../etc/passwd"])
def test_an_unknown_input_is_not_found_and_stores_nothing(alice: Person, file_id: str) -> None:
    response = create_batch(alice, file_id or "file-")

    assert response.status_code == 404
    assert error_of(response)["message"].startswith("Input file not found: ")
    assert not Batch.objects.exists()


def test_a_strangers_input_is_not_found(alice: Person, charlie: Person) -> None:
    file_id = uploaded(alice, jsonl([line()]))

    assert error_of(create_batch(charlie, file_id))["message"] == f"Input file not found: {file_id}"
    assert create_batch(charlie, file_id).status_code == 404


def test_a_deleted_input_is_not_found(alice: Person) -> None:
    file_id = uploaded(alice, jsonl([line()]))
    alice.client.delete(f"/v1/files/{file_id}")

    assert create_batch(alice, file_id).status_code == 404


def test_a_result_file_is_no_input(alice: Person) -> None:
    file_id = uploaded(alice, jsonl([line()]))
    File.objects.filter(pk=file_id).update(purpose="batch_output")

    assert error_of(create_batch(alice, file_id))["message"] == f"Input file not found: {file_id}"


def test_a_missing_object_is_named(alice: Person) -> None:
    file_id = uploaded(alice, jsonl([line()]))
    default_storage.delete(File.objects.get(pk=file_id).object_key)

    response = create_batch(alice, file_id)

    assert response.status_code == 404
    assert error_of(response)["message"] == f"Input file object missing: {file_id}"


GOOD = json.dumps(line("good")).encode()


def changed(**changes: Any) -> bytes:
    return json.dumps(line("request-2", **changes)).encode()


CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"{nope", "is not valid JSON"),
        (b'{"a": NaN}', "is not valid JSON"),
        (b'{"a": Infinity}', "is not valid JSON"),
        (b'{"a": 1e400}', "is not valid JSON"),
        (b'{"a": ' + b"9" * 400 + b"}", "is not valid JSON"),
        (b'{"a": "\\ud800"}', "is not valid JSON"),
        (b'{"a": "\xff"}', "is not valid JSON"),
        (b'{"a": "\x00"}', "is not valid JSON"),
        (b"\xef\xbb\xbf" + GOOD, "is not valid JSON"),
        (b'{"a": ' + b"[" * 1_000 + b"]" * 1_000 + b"}", "is not valid JSON"),
        (b'{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "is not valid JSON"),
        (GOOD + b" " + GOOD, "is not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (changed(custom_id=7), "is missing custom_id"),
        (changed(custom_id=""), "is missing custom_id"),
        (b'{"method": "POST"}', "is missing custom_id"),
        (json.dumps(line("good")).encode(), 'duplicates custom_id "good"'),
        (changed(method="GET"), 'method must be "POST"'),
        (b'{"custom_id": "request-2"}', 'method must be "POST"'),
        (changed(method=["POST"]), 'method must be "POST"'),
        (b'{"custom_id": "request-2", "method": "POST"}', "is missing url"),
        (changed(url=7), "is missing url"),
        (changed(url=CHAT + "/"), f'url "{CHAT}/" is not an allowed batch endpoint'),
        (changed(url=CHAT + "?a=1"), f'url "{CHAT}?a=1" is not an allowed batch endpoint'),
        (changed(url="http://host" + CHAT), f'url "http://host{CHAT}" is not an allowed batch endpoint'),
        (changed(url="/v1/embeddings"), 'url "/v1/embeddings" is not an allowed batch endpoint'),
        (changed(body={}), "is missing body"),
        (changed(body=[1]), "is missing body"),
        (changed(body="text"), "is missing body"),
        (changed(body={"stream": True}), "has stream=true; streaming is not supported in batch mode"),
    ],
)
def test_a_bad_line_is_refused_with_its_number(alice: Person, bad: bytes, message: str) -> None:
    # The blank line is counted and skipped: the bad one is the third.
    error = refused(alice, GOOD + b"\n\n" + bad + b"\n")

    assert error["message"] == f"Line 3 {message}"
    assert error["line"] == 3
    assert error["type"] == "invalid_request_error"
    assert error["code"] == "invalid_request_error"


def test_the_method_may_be_written_small(alice: Person) -> None:
    assert create_batch(alice, uploaded(alice, jsonl([line(method="post")]))).status_code == 200


def test_a_thousand_levels_are_allowed(alice: Person) -> None:
    nested = b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"a": %s}}'
    deep = nested % (b"[" * 998 + b"]" * 998)
    assert create_batch(alice, uploaded(alice, deep)).status_code == 200
    assert refused(alice, nested % (b"[" * 999 + b"]" * 999))["message"] == "Line 1 is not valid JSON"


def test_brackets_in_strings_do_not_nest(alice: Person) -> None:
    assert create_batch(alice, uploaded(alice, jsonl([line("[" * 5_000 + '\\"{')]))).status_code == 200


@pytest.mark.parametrize("content", [b"\n", b"\r\n \t\n", b"\xef\xbb\xbf\n"])
def test_an_input_without_lines_is_refused(alice: Person, content: bytes) -> None:
    error = refused(alice, content)

    assert error["message"] == "Input file contains no JSONL lines"
    assert "line" not in error


def test_the_files_url_must_be_the_endpoint(alice: Person) -> None:
    error = refused(alice, jsonl([line("a"), line("b")]), endpoint="/v1/embeddings")

    assert error["message"] == f'endpoint "/v1/embeddings" does not match the url "{CHAT}" used by the input file'


def test_lines_that_disagree_are_named(alice: Person, settings: Any) -> None:
    settings.ALLOWED_ENDPOINTS = [CHAT, "/v1/embeddings"]
    error = refused(alice, jsonl([line("a"), line("b", url="/v1/embeddings")]))

    assert error["message"] == f'Line 2 url "/v1/embeddings" does not match the batch endpoint "{CHAT}"'
    assert error["line"] == 2


def test_a_rejected_input_is_remembered_with_every_bad_line(alice: Person) -> None:
    lines = [line("a"), line("b", method="GET"), line("a"), line("c", body={})]
    error = refused(alice, jsonl(lines))

    batch = alice.client.get(f"/v1/batches/{error['batch_id']}").json()
    assert batch["status"] == "failed"
    assert batch["failed_at"] is not None
    assert batch["errors"]["object"] == "list"
    found = [(entry["line"], entry["message"], entry["param"]) for entry in batch["errors"]["data"]]
    assert found == [
        (2, 'Line 2 method must be "POST"', "method"),
        (3, 'Line 3 duplicates custom_id "a"', "custom_id"),
        (4, "Line 4 is missing body", "body"),
    ]


def test_it_lists_the_first_hundred_bad_lines(alice: Person) -> None:
    error = refused(alice, b"nope\n" * 150)

    errors = alice.client.get(f"/v1/batches/{error['batch_id']}").json()["errors"]["data"]
    assert [entry["line"] for entry in errors] == list(range(1, 101))


def test_hostile_text_in_errors_is_stored_and_shown(alice: Person) -> None:
    hostile = "\x00\u2028😀" + "x" * 1_000
    error = refused(alice, jsonl([line(hostile), line(hostile)]), endpoint="\x00" + "y" * 1_000)

    assert error["message"].startswith("endpoint ") or "\x00\u2028😀" in error["message"]
    assert len(error["message"]) < 1_000
    assert alice.client.get(f"/v1/batches/{error['batch_id']}").status_code == 200


def test_a_line_may_have_a_mebibyte_and_no_more(alice: Person) -> None:
    frame = jsonl([line("a", body={"model": "m", "x": ""})]).rstrip(b"\n")
    filler = 1_048_576 - len(frame)
    exact = jsonl([line("a", body={"model": "m", "x": "x" * filler})])
    assert len(exact) == 1_048_577  # with its LF

    assert create_batch(alice, uploaded(alice, exact)).status_code == 200
    assert create_batch(alice, uploaded(alice, exact.replace(b"\n", b"\r\n"))).status_code == 200
    over = exact.replace(b"xx", b"xxx", 1)
    assert refused(alice, GOOD + b"\n" + over)["message"] == "Line 2 exceeds maximum size of 1048576 bytes"
    assert refused(alice, over.rstrip(b"\n"))["message"] == "Line 1 exceeds maximum size of 1048576 bytes"


def test_fifty_thousand_lines_and_no_more(alice: Person) -> None:
    lines = jsonl(line(str(number)) for number in range(50_000))

    response = create_batch(alice, uploaded(alice, lines))
    assert response.status_code == 200
    assert response.json()["request_counts"]["total"] == 50_000
    assert Chunk.objects.filter(batch=response.json()["id"]).count() == 100
    error = refused(alice, lines + b"\n" + jsonl([line("one more")]))
    assert error["message"] == "Input file exceeds maximum of 50000 lines"


def test_too_many_bytes_are_refused_unread(alice: Person, settings: Any) -> None:
    settings.MAX_BATCH_BYTES = 100
    error = refused(alice, jsonl([line(), line("b")]))

    assert error["message"] == "Input file exceeds maximum size of 100 bytes"


def test_metadata_comes_back_unchanged(alice: Person) -> None:
    raw = (
        '{"input_file_id": "%s", "endpoint": "/v1/chat/completions",'
        ' "metadata": {"z": "\\u0000\\ud800", "a": 123456789012345678901234567890, "n": null, "z": "\\ud83d\\ude00"}}'
    )
    body = raw % uploaded(alice, jsonl([line()]))

    created = alice.client.post("/v1/batches", body, content_type="application/json")

    assert created.status_code == 200
    expected = json.loads(body)["metadata"]
    assert json.loads(created.content)["metadata"] == expected
    assert json.loads(alice.client.get(f"/v1/batches/{created.json()['id']}").content)["metadata"] == expected


def test_metadata_may_have_16_kilobytes_of_any_script(alice: Person) -> None:
    file_id = uploaded(alice, jsonl([line()]))
    frame = len(b'{"a":""}')

    assert create_batch(alice, file_id, metadata={"a": "é" * ((16 * 1024 - frame) // 2)}).status_code == 200
    assert create_batch(alice, file_id, metadata={"a": "日" * 5_461}).status_code == 400


def test_a_body_nested_too_deep_is_refused(alice: Person) -> None:
    def sent(levels: int) -> int:
        body = b'{"input_file_id": "file-x", "endpoint": "e", "metadata": {"a": %b}}' % (b"[" * levels + b"]" * levels)
        return int(alice.client.post("/v1/batches", body, content_type="application/json").status_code)

    assert sent(98) == 404, "deep enough for anybody"
    assert [sent(levels) for levels in (99, 900, 3_938, 50_000)] == [400] * 4


def test_metadata_may_hold_a_lone_surrogate(alice: Person) -> None:
    body = '{"input_file_id": "%s", "endpoint": "/v1/chat/completions", "metadata": {"a": "\\ud800"}}'
    created = alice.client.post("/v1/batches", body % uploaded(alice, jsonl([line()])), content_type="application/json")

    assert created.json()["metadata"] == {"a": "\ud800"}


@pytest.mark.parametrize("body", ["", "[]", "{", "null", '{"a": NaN}', '{"a": 1e999}', "\xff", "[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(alice: Person, body: str) -> None:
    response = alice.client.post("/v1/batches", body.encode("latin-1"), content_type="application/json")

    assert response.status_code == 400
    assert error_of(response)["code"] == "invalid_json"


def test_the_content_type_of_a_json_body_does_not_matter(alice: Person) -> None:
    body = json.dumps({"input_file_id": uploaded(alice, jsonl([line()])), "endpoint": CHAT})
    sent = alice.client.post("/v1/batches", body, content_type="application/x-www-form-urlencoded")

    assert sent.status_code == 200


def test_output_expiry_is_checked(alice: Person) -> None:
    file_id = uploaded(alice, jsonl([line()]))

    def sent(value: Any) -> int:
        return int(create_batch(alice, file_id, output_expires_after=value).status_code)

    assert sent({"anchor": "created_at", "seconds": 3_600}) == 200
    assert sent({"anchor": "created_at", "seconds": 3_599}) == 400
    assert sent({"anchor": "now", "seconds": 3_600}) == 400
    assert sent(["created_at"]) == 400
    assert sent({}) == sent({"anchor": None, "seconds": None}) == 400


def test_unknown_fields_are_ignored(alice: Person) -> None:
    assert create_batch(alice, uploaded(alice, jsonl([line()])), prompt_cache="x").status_code == 200


def test_the_model_is_null_when_lines_differ(alice: Person) -> None:
    lines = [line("a"), line("b", body={"model": "other"})]

    assert create_batch(alice, uploaded(alice, jsonl(lines))).json()["model"] is None
    assert create_batch(alice, uploaded(alice, jsonl([line("a"), line("b", body={"x": 1})]))).json()["model"] is None
    assert create_batch(alice, uploaded(alice, jsonl([line(body={"model": "\x00"})]))).json()["model"] is None


def test_crlf_a_bom_and_a_missing_last_newline_are_tolerated(alice: Person) -> None:
    content = b"\xef\xbb\xbf" + jsonl([line("a")]).replace(b"\n", b"\r\n") + jsonl([line("b\u2028")]).rstrip(b"\n")

    assert create_batch(alice, uploaded(alice, content)).json()["request_counts"]["total"] == 2


def test_a_file_deleted_while_it_is_checked_makes_no_batch(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    file_id = uploaded(alice, jsonl([line()]))
    from apps.batches import lifecycle  # noqa: PLC0415

    create = lifecycle.create

    def deleted_just_before(*args: Any, **kwargs: Any) -> Batch:
        alice.client.delete(f"/v1/files/{file_id}")
        return create(*args, **kwargs)

    monkeypatch.setattr(lifecycle, "create", deleted_just_before)

    assert create_batch(alice, file_id).status_code == 404
    assert not Batch.objects.exists()


def test_work_is_announced_only_after_the_commit(
    alice: Person, django_capture_on_commit_callbacks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced: list[str] = []
    monkeypatch.setattr(tasks.start, "delay", announced.append)
    file_id = uploaded(alice, jsonl([line()]))
    with django_capture_on_commit_callbacks() as callbacks:
        batch_id = create_batch(alice, file_id).json()["id"]
    assert announced == []

    for callback in callbacks:
        callback()
    assert announced == [batch_id]
