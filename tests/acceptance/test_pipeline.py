"""The pipeline with real processes: queues, workers, faults."""

import json
import signal
from typing import Any

import pytest
import redis
from openai import OpenAI
from openai.types import Batch

from tests.conftest import jsonl
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import ask
from tests.integration.test_run import CODES
from tests.stack import Stack, finished, submit, wait_until


@pytest.fixture
def sdk(stack: Stack) -> OpenAI:
    return stack.sdk()


def rows_of(sdk: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    return [json.loads(row) for row in sdk.files.content(file_id).text.splitlines()] if file_id else []


def assert_every_line_once(sdk: OpenAI, batch: Batch, custom_ids: list[str]) -> None:
    found = [
        row["custom_id"] for file_id in (batch.output_file_id, batch.error_file_id) for row in rows_of(sdk, file_id)
    ]
    assert sorted(found) == sorted(custom_ids)
    assert batch.request_counts is not None
    assert batch.request_counts.completed + batch.request_counts.failed == batch.request_counts.total == len(custom_ids)


def test_every_kind_of_line_in_one_batch(sdk: OpenAI) -> None:
    good = [f"good {number}" for number in range(120)]
    lines = [ask("echo", name) for name in good] + [ask(model) for model in CODES]

    ended = finished(sdk, submit(sdk, jsonl(lines)))

    assert ended.status == "completed"
    assert_every_line_once(sdk, ended, [*good, *CODES])
    assert [row["custom_id"] for row in rows_of(sdk, ended.output_file_id)] == good
    assert {row["custom_id"]: row["error"]["code"] for row in rows_of(sdk, ended.error_file_id)} == CODES


def test_nobody_subscribes_to_results_that_nobody_reads(stack: Stack, sdk: OpenAI) -> None:
    finished(sdk, submit(sdk, jsonl([ask("echo", str(number)) for number in range(300)])))

    with redis.Redis.from_url(stack.env["REDIS_URL"]) as broker:
        assert broker.pubsub_channels("celery-task-meta-*") == []


def test_counts_are_live(sdk: OpenAI, witness: FakeUpstream) -> None:
    witness.hold()
    batch = submit(sdk, jsonl([*(ask("echo", str(number)) for number in range(20)), ask("hang")]))

    def twenty_done() -> bool:
        counts = sdk.batches.retrieve(batch.id).request_counts
        return counts is not None and counts.completed == 20

    wait_until(twenty_done, "the counts show what is done while the batch runs", 20)
    witness.release()
    assert finished(sdk, batch).status == "completed"


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_dies_loses_no_line(
    stack: Stack, sdk: OpenAI, held: FakeUpstream, with_signal: signal.Signals
) -> None:
    names = [f"line {number}" for number in range(1_000)]
    before = held.request_count
    batch = submit(sdk, jsonl([ask("echo", name) for name in names]))
    held.wait_for_requests(before + 50)

    stack.kill("worker-1", with_signal)
    held.gate.open()

    ended = finished(sdk, batch, seconds=90)
    assert ended.status == "completed"
    assert_every_line_once(sdk, ended, names)
