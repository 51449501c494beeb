"""`run` against a server of another make: its troubles, each a sentence."""

import json
import os
import socket
import stat
from pathlib import Path

import pytest

from apps.cli import upload
from tests.conftest import jsonl, line
from tests.fakes.batch_api import FakeBatchApi
from tests.unit.cli.conftest import Cli

HTML = (200, "text/html", b"<h1>Welcome</h1>")


def envelope(message: str, **members: object) -> bytes:
    return json.dumps({"error": {"message": message, "type": "invalid_request_error", **members}}).encode()


def test_it_brings_the_answers_beside_the_input(cli: Cli, server: FakeBatchApi, valid: Path) -> None:
    done = cli("run", valid, "--metadata", "k=v")

    assert done.code == 0, done.err
    assert (valid.parent / "reviews.output.jsonl").read_bytes() == server.output
    assert not (valid.parent / "reviews.errors.jsonl").exists()
    assert "batch_1 completed: 1 of 1 line answered" in done.out
    assert server.created["metadata"] == {"k": "v"}
    assert server.received_bytes > valid.stat().st_size
    assert [path.name for path in valid.parent.iterdir()].count("reviews.output.jsonl") == 1


def test_both_headers_carry_the_key(cli: Cli, server: FakeBatchApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEROBATCH_PROJECT_ID", "project-1")
    cli("status", "batch_1")

    (_, _, headers) = server.requests[0]
    assert headers["authorization"] == "Bearer zb_key"
    assert headers["x-api-key"] == "zb_key"
    assert headers["x-project-id"] == "project-1"


def test_nothing_is_sent_of_an_input_with_bad_lines(cli: Cli, server: FakeBatchApi, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(jsonl([line("a"), line("a"), *({"custom_id": str(number)} for number in range(30))]))

    done = cli("run", path)

    assert done.code == 3
    assert 'Line 2 duplicates custom_id "a"' in done.err
    assert "... and 11 more: zerobatch validate" in done.err
    assert server.requests == []


def test_what_the_server_finds_is_listed_too(cli: Cli, server: FakeBatchApi, valid: Path) -> None:
    server.batch = {
        "status": "failed",
        "errors": {"data": [{"message": "Line 7 is odd"}, {"message": "Line 9 is odd"}]},
    }
    server.answers = [
        (200, "application/json", b'{"id": "file-in"}'),
        (400, "application/json", envelope("Line 7 is odd", line=7, batch_id="batch_1")),
    ]

    done = cli("run", valid)

    assert done.code == 3
    assert "  Line 7 is odd\n  Line 9 is odd" in done.err


def test_a_batch_that_fails_later_says_why(cli: Cli, server: FakeBatchApi, valid: Path) -> None:
    server.output = b""
    server.batch = {"status": "failed", "errors": {"data": [{"message": "Line 7 is odd"}]}}

    done = cli("run", valid)

    assert done.code == 3
    assert "Line 7 is odd" in done.out


def test_failed_lines_are_summed_up_by_code(cli: Cli, server: FakeBatchApi, valid: Path) -> None:
    codes = ["timeout", "timeout", "request_too_large"]
    server.errors = jsonl([{"custom_id": str(n), "error": {"code": code}} for n, code in enumerate(codes)])
    server.batch = {"request_counts": {"total": 4, "completed": 1, "failed": 3}}

    done = cli("run", valid)

    assert done.code == 1
    assert "        2  timeout\n        1  request_too_large" in done.out
    assert "2 lines failed for a passing reason: zerobatch retry batch_1" in done.out


def test_json_is_one_document(cli: Cli, server: FakeBatchApi, valid: Path) -> None:
    done = cli("run", valid, "--json")

    document = json.loads(done.out)
    assert document["batch"]["id"] == "batch_1"
    assert document["output"] == str(valid.with_name("reviews.output.jsonl"))
    assert document["errors"] is None
    assert document["error_codes"] == {}


def test_answers_may_go_to_stdout(cli: Cli, server: FakeBatchApi, valid: Path) -> None:
    done = cli("run", valid, "-o", "-")

    assert done.code == 0
    assert done.out.encode() == server.output
    assert "batch_1 completed" in done.err


def test_answers_that_exist_are_not_written_over(cli: Cli, server: FakeBatchApi, valid: Path) -> None:
    valid.with_name("reviews.output.jsonl").write_text("precious")

    assert cli("run", valid).code == 8
    assert server.requests == []
    assert cli("run", valid, "--force").code == 0
    assert valid.with_name("reviews.output.jsonl").read_bytes() == server.output


def test_detached_it_says_how_to_come_back(cli: Cli, server: FakeBatchApi, valid: Path) -> None:
    done = cli("run", valid, "--detach")

    assert done.code == 0
    assert "zerobatch run --resume batch_1 -o " in done.out


@pytest.mark.parametrize(
    ("answer", "code", "sentence"),
    [
        (HTML, 5, "does not answer as a Batch API does (200, text/html)"),
        ((404, "text/html", b"no"), 5, "a base URL usually ends in /v1"),
        ((403, "application/json", envelope("Invalid credentials")), 6, "refuses the key: Invalid credentials"),
        ((401, "text/plain", b"who?"), 6, "refuses the key: 401"),
        ((302, "text/plain", b""), 5, "redirects to https://elsewhere.example/v1: set that as the base URL"),
        ((500, "application/json", envelope("We broke")), 5, "answers 500: We broke"),
        ((413, "application/json", envelope("Too big")), 7, "the server refuses: Too big"),
        ((429, "application/json", envelope("Spent", code="insufficient_quota")), 7, "the server refuses: Spent"),
    ],
)
def test_each_refusal_is_a_sentence(
    cli: Cli, server: FakeBatchApi, valid: Path, *, answer: tuple[int, str, bytes], code: int, sentence: str
) -> None:
    server.answers = [answer]

    done = cli("run", valid, "--json")

    assert (done.code, json.loads(done.out)["error"]["exit_code"]) == (code, code)
    assert sentence in done.err
    assert done.err.count("\n") <= 2


def test_a_busy_server_is_asked_again(cli: Cli, server: FakeBatchApi, valid: Path) -> None:
    server.answers = [(429, "application/json", envelope("Slowly")), (503, "text/html", b"")]

    assert cli("run", valid).code == 0
    assert server.paths("POST") == ["/files", "/files", "/files", "/batches"]


def test_a_server_that_is_not_there(cli: Cli, valid: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    done = cli("run", valid, "--base-url", f"http://127.0.0.1:{port}", "--api-key", "k")

    assert done.code == 5
    assert f"cannot reach http://127.0.0.1:{port}/v1: is the address right, and does the server run?" in done.err


def test_a_big_input_goes_in_parts(
    cli: Cli, server: FakeBatchApi, valid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "ONE_UPLOAD_BYTES", 100)
    monkeypatch.setattr(upload, "PART_BYTES", 50)
    server.answers = [(200, "application/json", b'{"id": "upload_1"}'), (500, "text/plain", b"one part is lost")]

    done = cli("run", valid)

    assert done.code == 0, done.err
    assert b"".join(server.parts.values()) == valid.read_bytes()
    assert len(server.parts) > 3
    assert "/files" not in server.paths("POST")


def test_a_big_input_needs_a_server_that_takes_parts(
    cli: Cli, server: FakeBatchApi, valid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "ONE_UPLOAD_BYTES", 100)
    server.takes_parts = False

    done = cli("run", valid)

    assert done.code == 7
    assert "this server takes no more than 100 B in one upload and nothing in parts: split it" in done.err


def test_an_upload_that_fails_in_mid_way_is_cancelled(
    cli: Cli, server: FakeBatchApi, valid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "ONE_UPLOAD_BYTES", 100)
    server.answers = [(200, "application/json", b'{"id": "upload_1"}'), (400, "application/json", envelope("No"))]

    assert cli("run", valid).code == 7
    assert server.paths("POST")[-1] == "/uploads/upload_1/cancel"


def test_a_pipe_cannot_be_an_input(cli: Cli, server: FakeBatchApi, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)

    done = cli("run", tmp_path / "pipe")

    assert done.code == 8
    assert "save it first" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["run"], 2, "name an input, or a batch to --resume"),
        (["run", "nowhere.jsonl"], 8, "cannot read nowhere.jsonl: No such file or directory"),
        (["run", "a.jsonl", "-o", "-", "--json"], 2, "choose one"),
        (["retry", "batch_1", "-o", "-", "--json"], 2, "choose one"),
        (["run", "a.jsonl", "-o", "x", "--errors", "x"], 2, "--errors must name a file, and another one than -o"),
    ],
)
def test_what_cannot_be_meant_is_said(
    cli: Cli, server: FakeBatchApi, arguments: list[str], code: int, sentence: str
) -> None:
    done = cli(*arguments)

    assert (done.code, server.requests) == (code, [])
    assert sentence in done.err
