"""`merge`: results joined to the rows they answer, in the rows' order."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import jsonl
from tests.unit.cli.conftest import Cli


def answered(custom_id: str, text: str) -> dict[str, Any]:
    body = {"choices": [{"message": {"content": text}}]}
    return {"id": "x", "custom_id": custom_id, "response": {"status_code": 200, "body": body}, "error": None}


def failed(custom_id: str, code: str) -> dict[str, Any]:
    return {"id": "x", "custom_id": custom_id, "response": None, "error": {"code": code, "message": "why"}}


def rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(autouse=True)
def _files() -> None:
    Path("r.csv").write_text('id,text\nc,"x, y"\na,z\nb,w\nd,v\n')
    Path("out.jsonl").write_bytes(jsonl([answered("a", 'yes, "so"\nit is'), answered("c", "ja ü")]))
    Path("err.jsonl").write_bytes(jsonl([failed("b", "timeout")]))


def test_rows_keep_their_order_and_get_two_columns(cli: Cli) -> None:
    done = cli("merge", "r.csv", "out.jsonl", "err.jsonl", "--id", "id", "-o", "tagged.csv")

    assert done.code == 1, "d has no result"
    assert done.out == "tagged.csv: 4 rows, 2 answered, 1 failed, 1 missing\n"
    assert rows("tagged.csv") == [
        {"id": "c", "text": "x, y", "answer": "ja ü", "error": ""},
        {"id": "a", "text": "z", "answer": 'yes, "so"\nit is', "error": ""},
        {"id": "b", "text": "w", "answer": "", "error": "timeout: why"},
        {"id": "d", "text": "v", "answer": "", "error": "no result"},
    ]


def test_rows_are_found_by_number_without_an_id(cli: Cli) -> None:
    Path("out.jsonl").write_bytes(jsonl(answered(f"row-{number}", str(number)) for number in (4, 2, 1, 3)))

    done = cli("merge", "r.csv", "out.jsonl", "-o", "tagged.tsv", "--answer", "tag", "--json")

    assert done.code == 0
    assert json.loads(done.out) == {"output": "tagged.tsv", "answered": 4, "failed": 0, "missing": 0}
    assert [line.split("\t")[2] for line in Path("tagged.tsv").read_text().splitlines()] == ["tag", *"1234"]


def test_an_input_of_a_batch_is_a_table_too(cli: Cli) -> None:
    Path("in.jsonl").write_bytes(jsonl([{"custom_id": "b", "big": 12345678901234567890}, {"custom_id": "a"}]))

    assert cli("merge", "in.jsonl", "err.jsonl", "out.jsonl", "-o", "tagged.jsonl").code == 1
    assert [json.loads(row) for row in Path("tagged.jsonl").read_text().splitlines()] == [
        {"custom_id": "b", "big": 12345678901234567890, "answer": None, "error": "timeout: why"},
        {"custom_id": "a", "answer": 'yes, "so"\nit is', "error": None},
    ]


def test_an_answer_counts_more_than_an_error_and_the_later_one_more(cli: Cli) -> None:
    Path("again.jsonl").write_bytes(jsonl([answered("b", "at last"), failed("a", "late"), answered("c", "newer")]))

    cli("merge", "r.csv", "out.jsonl", "err.jsonl", "again.jsonl", "--id", "id", "-o", "tagged.csv")

    assert [row["answer"] for row in rows("tagged.csv")] == ["newer", 'yes, "so"\nit is', "at last", ""]


def test_half_a_character_does_not_stop_it(cli: Cli) -> None:
    Path("out.jsonl").write_text(json.dumps(answered("a", "half \ud83d")) + "\n")

    assert cli("merge", "r.csv", "out.jsonl", "--id", "id", "-o", "tagged.csv").code == 1
    assert rows("tagged.csv")[1]["answer"] == "half ?"


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"choices": [{"text": "plain"}]}, "plain"),
        ({"output": [{"content": [{"type": "output_text", "text": "a"}, {"type": "output_text", "text": "b"}]}]}, "ab"),
        ({"data": [{"embedding": [0.5, 1]}]}, "[0.5,1]"),
        (
            {"choices": [{"message": {"content": None, "tool_calls": []}}]},
            '{"choices":[{"message":{"content":null,"tool_calls":[]}}]}',
        ),
        ("text", '"text"'),
    ],
)
def test_each_endpoint_has_its_answer(cli: Cli, body: Any, answer: str) -> None:
    Path("out.jsonl").write_bytes(jsonl([{"custom_id": "a", "response": {"status_code": 200, "body": body}}]))

    cli("merge", "r.csv", "out.jsonl", "--id", "id", "-o", "tagged.csv")

    assert rows("tagged.csv")[1]["answer"] == answer


def test_others_write_errors_as_responses(cli: Cli) -> None:
    response = {"status_code": 429, "body": {"error": {"code": None, "message": "slowly"}}}
    Path("err.jsonl").write_bytes(jsonl([{"custom_id": "b", "response": response, "error": None}]))

    cli("merge", "r.csv", "err.jsonl", "--id", "id", "-o", "tagged.csv")

    assert rows("tagged.csv")[2]["error"] == "http_429: slowly"


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["r.csv", "nowhere.jsonl", "-o", "t.csv"], 8, "cannot use nowhere.jsonl"),
        (["r.csv", "r.csv", "-o", "t.csv"], 3, "r.csv, line 1: not a line of a batch's results"),
        (["r.csv", "out.jsonl", "-o", "t.csv", "--answer", "text"], 2, "there is a column 'text' already"),
        (["r.csv", "out.jsonl", "-o", "t.csv", "--id", "nr"], 2, "there is no column 'nr'; there are id, text"),
        (["r.csv", "out.jsonl", "-o", "r.csv"], 8, "r.csv exists"),
        (["r.csv", "out.jsonl", "-o", "t.xls"], 2, "t.xls: the name must end in"),
        (["uneven.jsonl", "out.jsonl", "-o", "t.csv"], 2, "a row has b, which the first has not"),
    ],
)
def test_what_cannot_be_joined_is_said(cli: Cli, arguments: list[str], code: int, sentence: str) -> None:
    Path("uneven.jsonl").write_text('{"a": 1}\n{"b": 1}\n')
    before = sorted(Path().iterdir())

    done = cli("merge", *arguments)

    assert done.code == code
    assert sentence in done.err
    assert sorted(Path().iterdir()) == before
