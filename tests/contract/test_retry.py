"""Retry and results so far with the official SDK's client, a live server and real workers."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from openai import OpenAI
from openai.types import Batch

from tests.conftest import jsonl
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import ask
from tests.stack import Stack, finished, submit, wait_until


@pytest.fixture
def sdk(stack: Stack) -> OpenAI:
    return stack.sdk()


def retry(sdk: OpenAI, batch: Batch, **body: Any) -> Batch:
    """As a user of the SDK calls what it has no method for."""
    return sdk.post(f"/batches/{batch.id}/retry", cast_to=Batch, body=body or None)


def custom_ids(sdk: OpenAI, file_id: str | None) -> list[str]:
    return [json.loads(row)["custom_id"] for row in sdk.files.content(file_id or "").text.splitlines()]


def so_far(stack: Stack, batch: Batch, kind: str = "output") -> requests.Response:
    return stack.get(f"/v1/batches/{batch.id}/output?kind={kind}", **{"x-api-key": stack.api_key})


def test_every_line_is_answered_once_by_a_batch_or_its_retry(sdk: OpenAI, witness: FakeUpstream) -> None:
    lines = [ask(("echo", "quota", "status-422")[number % 3], f"line {number}") for number in range(330)]
    old = finished(sdk, submit(sdk, jsonl(lines)))

    new = retry(sdk, old)
    done = finished(sdk, new)

    quota = [f"line {number}" for number in range(330) if number % 3 == 1]
    assert new.to_dict()["retry_of"] == old.id
    assert done.request_counts is not None
    assert done.request_counts.total == 110
    assert custom_ids(sdk, done.error_file_id) == quota  # it is used up still
    rest = retry(sdk, old, codes=["invalid_request_error"])
    assert custom_ids(sdk, rest.input_file_id) == [f"line {number}" for number in range(330) if number % 3 == 2]
    assert sdk.batches.retrieve(old.id) == old
    finished(sdk, rest)


def test_what_is_done_can_be_read_before_the_end(stack: Stack, sdk: OpenAI, witness: FakeUpstream) -> None:
    witness.hold()
    lines = [ask("echo" if number < 100 else "hang", f"line {number}") for number in range(200)]
    batch = submit(sdk, jsonl(lines))
    try:
        first = wait_until(lambda: (got := so_far(stack, batch)).content and got, "the first chunk is done")
    finally:
        witness.release()
    done = finished(sdk, batch)
    whole, errors = so_far(stack, batch), so_far(stack, batch, "error")

    assert first.headers["x-incomplete"] == "true"
    assert [json.loads(row)["custom_id"] for row in first.iter_lines()] == [f"line {n}" for n in range(100)]
    assert whole.content == sdk.files.content(done.output_file_id or "").content
    assert whole.content.startswith(first.content)
    assert "x-incomplete" not in whole.headers
    assert (errors.status_code, errors.content) == (200, b"")


def test_whoever_reads_while_it_ends_reads_whole_lines_once(stack: Stack, sdk: OpenAI) -> None:
    batch = submit(sdk, jsonl(ask("echo", f"line {number}") for number in range(1_500)))

    def read(_: int) -> list[requests.Response]:
        answers = [so_far(stack, batch)]
        while "x-incomplete" in answers[-1].headers:
            answers.append(so_far(stack, batch))
        return answers

    with ThreadPoolExecutor(4) as threads:
        answers = [answer for found in threads.map(read, range(4)) for answer in found]

    final = so_far(stack, batch).content.splitlines()
    place = {row: position for position, row in enumerate(final)}
    assert len(place) == 1_500
    for answer in answers:
        assert answer.status_code == 200
        places = [place[row] for row in answer.content.splitlines()]
        assert places == sorted(set(places))
