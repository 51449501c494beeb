"""Uploads in parts on a full disk; webhooks without a broker, and with doubled messages; a budget that runs out."""

import json
from typing import Any

import openai
import pytest

from tests.conftest import jsonl, line
from tests.fakes.receiver import Receiver
from tests.integration.conftest import ask
from tests.integration.test_limits import TOKENS
from tests.stack import FULL_DISK_BYTES, Stack, finished, submit, wait_until

CONTENT = jsonl([line("x" * 3 * FULL_DISK_BYTES)])
MIME = "application/jsonl"


@pytest.mark.usefixtures("_in_a_folder")
def test_an_upload_in_parts_outlives_a_full_disk(stack: Stack) -> None:
    sdk = stack.sdk().with_options(max_retries=0)
    upload = sdk.uploads.create(filename="in.jsonl", bytes=len(CONTENT), mime_type=MIME, purpose="batch")
    with stack.full_disk("web"), pytest.raises(openai.InternalServerError) as no_part:
        sdk.uploads.parts.create(upload.id, data=CONTENT)
    part = sdk.uploads.parts.create(upload.id, data=CONTENT)
    with stack.full_disk("web"), pytest.raises(openai.InternalServerError) as not_joined:
        sdk.uploads.complete(upload.id, part_ids=[part.id])
    before = stack.objects("uploads")

    completed = sdk.uploads.complete(upload.id, part_ids=[part.id])

    assert {no_part.value.code, not_joined.value.code} == {"storage_error"}
    assert int(no_part.value.response.headers["retry-after"]) > 0
    assert before == {f"uploads/{part.id}.part"}, "what was refused left nothing"
    assert completed.file is not None
    assert sdk.files.content(completed.file.id).content == CONTENT
    assert not stack.objects("uploads")


def test_an_event_outlives_the_broker_and_comes_once_however_often_its_message_does(stack: Stack) -> None:
    sdk, receiver = stack.sdk(), Receiver()
    with receiver.listening():
        endpoint = sdk.webhooks.create(name="mine", url=receiver.url, event_types=["batch.failed"])
        with stack.away("redis"), pytest.raises(openai.BadRequestError) as rejected:
            submit(sdk, b"not json\n")
        wait_until(lambda: receiver.received, "the event arrives", 60)
        stack.handle([("webhooks.send", endpoint.id)] * 5)
        wait_until(
            lambda: (
                stack.all_of_postgres("SELECT busy_until FROM webhooks_webhookendpoint WHERE id = %s", endpoint.id)
                == [None]
            ),
            "nobody sends to it",
        )

    (received,) = receiver.received
    event: Any = sdk.webhooks.unwrap(received.body, dict(received.headers.items()), secret=endpoint.signing_secret)
    body = rejected.value.body
    assert isinstance(body, dict)
    assert event.data.id == body["batch_id"]
    sdk.webhooks.delete(endpoint.id)


def test_a_budget_that_runs_out_in_mid_batch_stops_it_within_a_heartbeat(stack: Stack) -> None:
    """With 100 slots and answers of 100 ms, a heartbeat is 2,000 lines and what is then in flight 100."""
    thrifty = stack.new_tenant("Thrifty")
    stack.execute("UPDATE projects_project SET max_tokens = %s WHERE id = %s", 500 * TOKENS, thrifty.project_id)
    sdk = stack.sdk(thrifty.api_key)

    batch = submit(sdk, jsonl([ask("slow-100", f"{n}") for n in range(10_000)]))
    ended = finished(sdk, batch, 120)

    assert ended.status == "completed"
    assert ended.request_counts is not None
    completed, failed = ended.request_counts.completed, ended.request_counts.failed
    print(f"a budget of 500 answers: {completed} were made")
    assert completed + failed == 10_000
    assert 500 <= completed <= 500 + 2 * 2_000 + 100  # a beat is up to 2 s old when the budget ends
    rows = [json.loads(row) for row in sdk.files.content(str(ended.error_file_id)).content.splitlines()]
    assert {row["error"]["code"] for row in rows} == {"insufficient_quota"}
    told = stack.get("/v1/limits", **{"x-api-key": thrifty.api_key}).json()["tokens"]
    assert told == {"used": completed * TOKENS, "limit": 500 * TOKENS, "remaining": 0}
    with pytest.raises(openai.RateLimitError) as refused:
        submit(sdk.with_options(max_retries=2), jsonl([line()]))
    assert refused.value.code == "insufficient_quota"
    assert refused.value.response.request.headers["x-stainless-retry-count"] == "0", "the SDK did not try again"
