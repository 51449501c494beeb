"""Requests that no SDK sends, against a live server: the envelope holds before Django has seen them."""

from collections.abc import Iterator

import pytest
import requests

from tests.stack import Stack

FORM = (
    b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}\r\n--x--\r\n'
)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain; charset*=bogus''x",
        "text/plain; charset=hex",
        "text/plain; charset=unicode_escape",
        ";",
        "\xff/\xfe",
    ],
)
@pytest.mark.parametrize("purpose", ["%41", "%5Cud800", "%00", "batch"])
def test_a_strange_content_type_is_no_crash(stack: Stack, content_type: str, purpose: str) -> None:
    headers: dict[str, str | bytes | None] = {
        "x-api-key": stack.api_key,
        "content-type": content_type.encode("latin-1"),
    }

    answer = requests.get(f"{stack.base_url}/files?purpose={purpose}", headers=headers, timeout=30)

    assert answer.status_code == 200
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data; boundary=x", "multipart/form-data; charset=hex; boundary=x"]
)
def test_a_chunked_upload_is_taken(stack: Stack, content_type: str) -> None:
    def blocks() -> Iterator[bytes]:
        yield FORM[:50]
        yield FORM[50:]

    headers = {"x-api-key": stack.api_key, "content-type": content_type}
    answer = requests.post(f"{stack.base_url}/files", data=blocks(), headers=headers, timeout=30)

    assert answer.status_code == 200, answer.text
    assert answer.json()["bytes"] == 2


def test_a_chunked_json_body_is_read(stack: Stack) -> None:
    body = iter([b'{"input_file_id":', b' "file-x", "endpoint": "e"}'])

    answer = requests.post(f"{stack.base_url}/batches", data=body, headers={"x-api-key": stack.api_key}, timeout=30)

    assert answer.json()["error"]["message"] == "Input file not found: file-x"
