"""`validate`: every bad line at once, without a server."""

import json
from pathlib import Path

from django.conf import settings

from apps.cli import check, upload
from tests.conftest import jsonl, line
from tests.unit.cli.conftest import Cli


def test_a_valid_input(cli: Cli, valid: Path) -> None:
    done = cli("validate", valid)

    assert (done.code, done.err) == (0, "")
    assert "is valid: 2 lines, " in done.out
    assert "/v1/chat/completions" in done.out


def test_every_bad_line_is_listed(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(jsonl([line("a"), *[line("a")] * 500]) + b"{\n")

    done = cli("validate", path)

    assert done.code == 3
    assert done.out.count('duplicates custom_id "a"') == 500
    assert done.out.endswith("Line 502 is not valid JSON\n")


def test_machines_get_a_document(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(jsonl([line("a", method="GET")]))

    document = json.loads(cli("validate", path, "--json").out)

    assert document["valid"] is False
    assert document["problems"] == [
        {
            "code": "invalid_request_error",
            "line": 1,
            "message": 'Line 1 method must be "POST"',
            "param": "method",
        }
    ]


def test_the_endpoint_is_the_first_lines(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "embeddings.jsonl"
    path.write_bytes(jsonl([line("a", url="/v1/embeddings")]))

    assert json.loads(cli("validate", path, "--json").out)["endpoint"] == "/v1/embeddings"
    assert "does not match" in cli("validate", path, "--endpoint", "/v1/completions").out


def test_an_empty_input(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()

    done = cli("validate", "empty.jsonl")

    assert (done.code, done.out) == (3, "Input file contains no JSONL lines\n")


def test_the_limits_are_the_servers_defaults() -> None:
    ours = (check.LINES, check.BYTES, check.LINE_BYTES, upload.ONE_UPLOAD_BYTES)
    servers = (settings.MAX_BATCH_LINES, settings.MAX_BATCH_BYTES, settings.MAX_LINE_BYTES, settings.MAX_UPLOAD_BYTES)

    assert ours == servers
