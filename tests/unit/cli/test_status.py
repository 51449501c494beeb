"""`status`, `list`, `cancel`: what the server says of its batches."""

import json

import pytest

from apps.cli.main import COMMANDS
from tests.fakes.batch_api import FakeBatchApi
from tests.unit.cli.conftest import Cli


def page(*batches: dict[str, object], has_more: bool = False) -> tuple[int, str, bytes]:
    return 200, "application/json", json.dumps({"object": "list", "data": batches, "has_more": has_more}).encode()


def test_status_says_what_there_is(cli: Cli, server: FakeBatchApi) -> None:
    server.batch = {
        "status": "in_progress",
        "status_reason": "upstream_away",
        "request_counts": {"total": 1500, "completed": 1200, "failed": 3},
        "metadata": {"team": "search"},
        "model": "echo",
    }

    done = cli("status", "batch_1")

    assert done.code == 0
    assert "status    in_progress, waits: upstream away\n" in done.out
    assert "lines     1,203 of 1,500 done, 3 failed\n" in done.out
    assert "metadata  team=search\n" in done.out
    assert "tokens" not in done.out


def test_machines_get_what_the_server_said(cli: Cli, server: FakeBatchApi) -> None:
    assert json.loads(cli("status", "batch_1", "--json").out) == server.ended()
    assert json.loads(cli("cancel", "batch_1", "--json").out) == server.ended()


def test_list_is_a_table(cli: Cli, server: FakeBatchApi) -> None:
    counts = {"total": 10, "completed": 7, "failed": 1}
    server.answers = [page({"id": "batch_2", "status": "in_progress", "request_counts": counts}, {"id": "batch_1"})] * 2

    done = cli("list", "--limit", 2)

    header, second, first = done.out.splitlines()
    assert header.split() == ["BATCH", "STATUS", "DONE", "FAILED", "LINES", "CREATED", "MODEL"]
    assert second.split() == ["batch_2", "in_progress", "8", "1", "10", "-", "-"]
    assert first.startswith("batch_1")
    assert len(json.loads(cli("list", "--json").out)["data"]) == 2


def test_list_says_how_to_go_on(cli: Cli, server: FakeBatchApi) -> None:
    server.answers = [page({"id": "batch_2"}, has_more=True), page()]

    assert "zerobatch list --after batch_2" in cli("list").err
    assert cli("list", "--after", "batch_2").out == "There are no batches.\n"


def test_cancel_says_what_it_came_to(cli: Cli, server: FakeBatchApi) -> None:
    server.batch = {"status": "cancelling"}

    done = cli("cancel", "batch_1")

    assert (done.code, done.out) == (0, "batch_1 is cancelling, 1 of 1 lines done\n")


def test_an_id_is_one_segment_of_the_path(cli: Cli, server: FakeBatchApi) -> None:
    assert cli("status", "../files").code == 0
    assert server.paths("GET") == ["/batches/..%2Ffiles"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(cli: Cli, command: str) -> None:
    done = cli(command, "--help")

    assert (done.code, done.err) == (0, "")
    assert f"zerobatch {command}" in done.out


def test_a_wrong_option_is_a_wrong_usage(cli: Cli) -> None:
    assert cli("run", "--fast").code == 2
    assert "Did you mean 'run'?" in cli("rum").err
    assert "Exit codes" in cli("--help").out
    assert cli("--version").code == 0
