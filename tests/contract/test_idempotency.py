"""Idempotency-Key with real threads against a live server."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
import requests

from tests.conftest import jsonl, line
from tests.stack import Stack

AT_ONCE = 20


def test_twenty_at_once_create_one_batch(stack: Stack) -> None:
    sdk, key = stack.sdk(), str(uuid.uuid4())
    stored = sdk.files.create(file=("a.jsonl", jsonl([line()])), purpose="batch")
    start = threading.Barrier(AT_ONCE)

    def create(_: int) -> requests.Response:
        start.wait(30)
        return requests.post(
            f"{stack.base_url}/batches",
            headers={"x-api-key": stack.api_key, "idempotency-key": key},
            json={"input_file_id": stored.id, "endpoint": "/v1/chat/completions"},
            timeout=60,
        )

    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = list(threads.map(create, range(AT_ONCE)))

    (batch_id,) = {answer.json()["id"] for answer in answers if answer.ok}
    for refused in (answer for answer in answers if not answer.ok):
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "idempotency_key_in_flight")
        assert refused.headers["retry-after"] == "2"
    created = "SELECT array_agg(id) FROM batches_batch WHERE input_file_id = %s"
    assert stack.ask_postgres(created, stored.id) == [batch_id]


def test_the_sdk_may_send_a_key_with_everything(stack: Stack) -> None:
    sdk, content = stack.sdk(), jsonl([line()])

    def headers() -> dict[str, str]:
        return {"Idempotency-Key": str(uuid.uuid4())}

    for_file, for_batch = headers(), headers()
    upload: Any = {"file": ("a.jsonl", content), "purpose": "batch", "extra_headers": for_file}
    file_ids = [sdk.files.create(**upload).id for _ in range(2)]
    batch: Any = {
        "input_file_id": file_ids[0],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "extra_headers": for_batch,
    }
    batch_ids = [sdk.batches.create(**batch).id for _ in range(2)]

    assert len({*file_ids}) == len({*batch_ids}) == 1
    with pytest.raises(openai.ConflictError) as reused:
        sdk.with_options(max_retries=2).batches.create(**batch | {"metadata": {"other": "1"}})
    assert reused.value.code == "idempotency_key_reused"
