"""`retry`: a new batch of the lines that failed for a passing reason."""

import json
from pathlib import Path

import pytest

from tests.conftest import jsonl, line
from tests.fakes.batch_api import FakeBatchApi
from tests.unit.cli.conftest import Cli

JSON = "application/json"
CODES = [
    "timeout",
    "internal_error",
    "rate_limit_exceeded",
    "batch_expired",
    "invalid_request_error",
    "batch_cancelled",
]
INPUT = jsonl(line(code, body={"model": "echo", "messages": [1.50, "ü"]}) for code in [*CODES, "fine"])


@pytest.fixture
def server(server: FakeBatchApi) -> FakeBatchApi:
    """Knows a batch of which a line failed with each of these codes."""
    server.errors = jsonl({"custom_id": code, "response": None, "error": {"code": code}} for code in CODES)
    server.inputs = INPUT
    server.batch = {"metadata": {"team": "search"}}
    return server


def sent(server: FakeBatchApi) -> bytes:
    """The lines of the upload."""
    return b"".join(row for row in server.received.splitlines(keepends=True) if row.startswith(b'{"custom_id"'))


def test_lines_that_may_work_now_are_sent_again(cli: Cli, server: FakeBatchApi) -> None:
    done = cli("retry", "batch_1")

    assert done.code == 0, done.err
    assert "4 lines of batch_1 failed for a passing reason" in done.err
    assert sent(server).split(b"\n") == [*INPUT.split(b"\n")[:4], b""]
    assert server.created["metadata"] == {"team": "search", "retry_of": "batch_1"}
    assert Path("batch_1.retry.output.jsonl").exists()


def test_others_if_asked_to(cli: Cli, server: FakeBatchApi) -> None:
    cli("retry", "batch_1", "--cancelled", "--code", "invalid_request_error", "--detach")

    assert sent(server).count(b"\n") == 6


def test_there_may_be_nothing_to_retry(cli: Cli, server: FakeBatchApi) -> None:
    server.errors = jsonl([{"custom_id": "a", "error": {"code": "invalid_request_error"}}])

    done = cli("retry", "batch_1", "--json")

    assert (done.code, done.out) == (0, '{\n  "batch": null\n}\n')
    assert server.paths("POST") == []


def test_an_input_that_is_gone_may_be_at_hand(cli: Cli, server: FakeBatchApi) -> None:
    server.inputs = None
    gone = cli("retry", "batch_1")
    Path("mine.jsonl").write_bytes(INPUT)
    Path("wrong.jsonl").write_bytes(jsonl([line("timeout")]))

    assert (gone.code, "name it with --input" in gone.err) == (7, True)
    wrong = cli("retry", "batch_1", "--input", "wrong.jsonl")
    assert (wrong.code, "wrong.jsonl lacks 3 lines of the batch" in wrong.err) == (3, True)
    assert cli("retry", "batch_1", "--input", "mine.jsonl").code == 0


def test_a_server_that_retries_by_itself_may_have_the_input_no_more(cli: Cli, server: FakeBatchApi) -> None:
    server.batch = {"retry_of": None}
    gone = {"error": {"message": "Input file not found: file-in", "code": "file_not_found", "param": "input_file_id"}}
    server.answers = [(200, JSON, json.dumps(server.ended()).encode()), (404, JSON, json.dumps(gone).encode())]
    refused = cli("retry", "batch_1")
    Path("mine.jsonl").write_bytes(INPUT)

    assert "name it with --input" in refused.err
    assert server.paths("POST") == ["/batches/batch_1/retry"]
    assert cli("retry", "batch_1", "--input", "mine.jsonl").code == 0
    assert sent(server).count(b"\n") == 4


def test_a_batch_that_runs_is_left_alone(cli: Cli, server: FakeBatchApi) -> None:
    server.batch = {"status": "in_progress"}

    done = cli("retry", "batch_1")

    assert done.code == 4
    assert "batch_1 is in_progress: it must end before" in done.err
