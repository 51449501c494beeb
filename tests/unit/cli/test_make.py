"""`make`: an input from a table and a prompt."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Cli, Done


def made(path: str) -> list[dict[str, Any]]:
    return [json.loads(row) for row in Path(path).read_text().splitlines()]


def make(cli: Cli, table: str, *options: str, prompt: str = "Classify: {text}") -> Done:
    return cli("make", table, "--model", "m", "--prompt", prompt, *options)


def test_a_csv_becomes_lines(cli: Cli) -> None:
    Path("reviews.csv").write_text('﻿id,text\n7,"Good, ""really""\nso"\n\n8,Straße {x}\n', encoding="utf-8")

    done = make(cli, "reviews.csv", "--id", "id", "--system", "You read {id}.", "--body", '{"max_tokens": 9}')

    assert done.code == 0, done.err
    assert done.out.startswith("reviews.input.jsonl: 2 lines")
    first, second = made("reviews.input.jsonl")
    assert first == {
        "custom_id": "7",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "m",
            "messages": [
                {"role": "system", "content": "You read 7."},
                {"role": "user", "content": 'Classify: Good, "really"\nso'},
            ],
            "max_tokens": 9,
        },
    }
    assert second["body"]["messages"][1]["content"] == "Classify: Straße {x}"


def test_rows_are_numbered_without_an_id(cli: Cli) -> None:
    Path("r.tsv").write_text("text\ta b.c\nx\t1\ny\t2\n")

    assert make(cli, "r.tsv", prompt="{text}{a b.c} {{literally}}").code == 0
    assert [row["custom_id"] for row in made("r.input.jsonl")] == ["row-1", "row-2"]
    assert made("r.input.jsonl")[1]["body"]["messages"][0]["content"] == "y2 {literally}"


def test_objects_are_rows_too(cli: Cli) -> None:
    Path("r.jsonl").write_text('{"text": "x", "tags": ["a", 1]}\n\n{"text": null}\n')

    assert make(cli, "r.jsonl", "-o", "in.jsonl", prompt="{text}|{tags}").code == 0
    assert [row["body"]["messages"][0]["content"] for row in made("in.jsonl")] == ['x|["a", 1]', "|"]


def test_other_endpoints_have_other_bodies(cli: Cli) -> None:
    Path("r.csv").write_text("text\nx\n")

    make(cli, "r.csv", "-o", "e.jsonl", "--endpoint", "/v1/embeddings")
    make(cli, "r.csv", "-o", "c.jsonl", "--endpoint", "/v1/completions")

    assert made("e.jsonl")[0]["body"] == {"model": "m", "input": "Classify: x"}
    assert made("c.jsonl")[0]["body"] == {"model": "m", "prompt": "Classify: x"}


def test_the_prompt_may_lie_in_a_file(cli: Cli) -> None:
    Path("r.csv").write_text("text;n\nx;1\n")
    Path("prompt.txt").write_text("Say {text}\n")

    assert make(cli, "r.csv", "--delimiter", ";", prompt="@prompt.txt").code == 0
    assert made("r.input.jsonl")[0]["body"]["messages"][0]["content"] == "Say x\n"


def test_ids_that_repeat_are_found(cli: Cli) -> None:
    Path("r.csv").write_text("id,text\n1,x\n1,y\n")

    done = make(cli, "r.csv", "--id", "id", "--json")

    assert done.code == 3
    assert json.loads(done.out)["problems"][0]["message"] == 'Line 2 duplicates custom_id "1"'


@pytest.mark.parametrize(
    ("table", "options", "code", "sentence"),
    [
        ("text\nx\n", ["--id", "id"], 2, "there is no column 'id'; there are text"),
        ("review\nx\n", [], 2, "the template names {text}, but the columns are review"),
        ("text,b\nx,1\ny\n", [], 3, "r.csv, row 2 (line 3): 1 values for 2 columns"),
        ('text\n"x\n', [], 3, "r.csv, line 2: unexpected end of data"),
        ("text,text\nx,y\n", [], 3, "the header names 'text' twice"),
        ("text\n", [], 3, "r.csv has no rows"),
        ("", [], 3, "r.csv has no rows"),
        ("text\nx\n", ["--body", "[1]"], 2, "--body must be a JSON object, not [1]"),
        (
            "text\nx\n",
            ["--system", "x", "--endpoint", "/v1/embeddings"],
            2,
            "--system is for /v1/chat/completions only",
        ),
        ("text\nx\n", ["--delimiter", "::"], 2, "--delimiter must be one character"),
    ],
)
def test_what_cannot_be_made_is_said(cli: Cli, *, table: str, options: list[str], code: int, sentence: str) -> None:
    Path("r.csv").write_text(table)

    done = make(cli, "r.csv", *options)

    assert done.code == code
    assert sentence in done.err
    assert not Path("r.input.jsonl").exists()


def test_only_utf_8_is_read(cli: Cli) -> None:
    Path("r.csv").write_bytes("text\nStraße\n".encode("latin-1"))

    done = make(cli, "r.csv")

    assert done.code == 3
    assert "r.csv is not UTF-8" in done.err


def test_a_table_is_known_by_its_name(cli: Cli) -> None:
    assert "the name must end in .csv, .tsv or .jsonl" in make(cli, "r.xlsx").err
    done = make(cli, "nowhere.csv")
    assert (done.code, done.err) == (8, "zerobatch: cannot use nowhere.csv: No such file or directory\n")


def test_what_exists_is_not_written_over(cli: Cli) -> None:
    Path("r.csv").write_text("text\nx\n")
    Path("r.input.jsonl").write_text("precious")

    assert make(cli, "r.csv").code == 8
    assert make(cli, "r.csv", "--force").code == 0
