"""`download`: what was interrupted goes on where it stopped."""

from pathlib import Path

import pytest

from apps.cli import download
from tests.conftest import jsonl
from tests.fakes.batch_api import FakeBatchApi
from tests.unit.cli.conftest import Cli

OUTPUT = jsonl([{"custom_id": str(number), "response": {"status_code": 200, "body": {}}} for number in range(200)])


@pytest.fixture
def server(server: FakeBatchApi, monkeypatch: pytest.MonkeyPatch) -> FakeBatchApi:
    """With a file of many blocks."""
    monkeypatch.setattr(download, "BLOCK", 50)
    server.output = OUTPUT
    return server


def ranges(server: FakeBatchApi) -> list[str]:
    return [headers.get("range", "") for _, path, headers in server.requests if path.endswith("/content")]


def test_a_break_is_mended_while_bytes_come(cli: Cli, server: FakeBatchApi) -> None:
    server.cuts_downloads_at = [100] * 7

    done = cli("download", "batch_1", "-o", "out.jsonl")

    assert done.code == 0, done.err
    assert Path("out.jsonl").read_bytes() == OUTPUT
    assert ranges(server) == [""] + [f"bytes={100 * number}-" for number in range(1, 8)]


def test_the_next_download_goes_on_where_this_one_gave_up(cli: Cli, server: FakeBatchApi) -> None:
    server.cuts_downloads_at = [1000, *[0] * 5]

    gave_up = cli("download", "batch_1", "-o", "out.jsonl")

    assert gave_up.code == 5
    assert (
        "to go on where it stopped: zerobatch download batch_1 -o out.jsonl --errors batch_1.errors.jsonl"
        in gave_up.err
    )
    assert not Path("out.jsonl").exists()

    server.requests.clear()
    assert cli("download", "batch_1", "-o", "out.jsonl").code == 0
    assert ranges(server) == ["bytes=1000-"]
    assert Path("out.jsonl").read_bytes() == OUTPUT
    assert [path.name for path in Path().iterdir()] == ["out.jsonl"]


def test_a_server_that_knows_no_ranges_does_too(cli: Cli, server: FakeBatchApi) -> None:
    server.knows_ranges = False
    server.cuts_downloads_at = [1000, 3000]

    assert cli("download", "batch_1", "-o", "out.jsonl").code == 0
    assert Path("out.jsonl").read_bytes() == OUTPUT


def test_both_files_appear_together(cli: Cli, server: FakeBatchApi) -> None:
    server.errors = jsonl([{"custom_id": "x", "error": {"code": "timeout"}}])
    server.cuts_downloads_at = [len(OUTPUT), *[0] * 5]

    assert cli("download", "batch_1", "-o", "out.jsonl", "--errors", "err.jsonl").code == 5
    assert not Path("out.jsonl").exists()

    server.requests.clear()
    assert cli("download", "batch_1", "-o", "out.jsonl", "--errors", "err.jsonl").code == 0
    assert ranges(server) == [""], "the output was whole already"
    assert Path("out.jsonl").read_bytes() == OUTPUT
    assert Path("err.jsonl").read_bytes() == server.errors


def test_a_full_disk_is_a_sentence(cli: Cli, server: FakeBatchApi) -> None:
    done = cli("download", "batch_1", "-o", "/dev/full/out.jsonl")
    assert done.code == 8
    assert "cannot write" in done.err


def test_a_batch_that_runs_has_nothing_to_fetch(cli: Cli, server: FakeBatchApi) -> None:
    server.batch = {"status": "in_progress", "request_counts": {"total": 9, "completed": 4, "failed": 1}}

    done = cli("download", "batch_1")

    assert done.code == 4
    assert "batch_1 is in_progress, 5 of 9 lines done: nothing to fetch yet" in done.err
    assert "zerobatch run --resume batch_1 -o batch_1.output.jsonl" in done.err
