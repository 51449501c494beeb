"""Reads and writes tables of rows, one at a time: CSV, TSV or JSONL."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from apps.cli.exits import CliError, Exit

MOST_FIELD_CHARACTERS = 10_000_000
KINDS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
DELIMITERS = {"csv": ",", "tsv": "\t"}
Row = dict[str, Any]
Write = Callable[[Row], None]


class Table(NamedTuple):
    """Rows in their order; `columns` are those of the header, or of the first object."""

    columns: list[str]
    rows: Iterator[Row]


def kind_of(path: Path) -> str:
    """csv, tsv or jsonl, by the name. Raises CliError."""
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise CliError(f"{path}: the name must end in .csv, .tsv or .jsonl", Exit.USAGE)
    return kind


@contextmanager
def open_table(path: Path, delimiter: str | None = None) -> Iterator[Table]:
    """Raises OSError, and CliError that names file and row for what is not a table."""
    kind = kind_of(path)
    if delimiter and len(delimiter) != 1:
        raise CliError(f"--delimiter must be one character, not {delimiter!r}", Exit.USAGE)
    with path.open(encoding="utf-8-sig", newline="") as stream:
        try:
            rows = _objects(path, stream) if kind == "jsonl" else _records(path, stream, delimiter or DELIMITERS[kind])
            yield _table(path, rows)
        except UnicodeDecodeError:
            raise CliError(f"{path} is not UTF-8: save it as UTF-8 and try again", Exit.INVALID_INPUT) from None


def _table(path: Path, rows: Iterator[Row]) -> Table:
    first = next(rows, None)
    if first is None:
        raise CliError(f"{path} has no rows", Exit.INVALID_INPUT)

    def all_of_them() -> Iterator[Row]:
        yield first
        yield from rows

    return Table(list(first), all_of_them())


def _records(path: Path, stream: IO[str], delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(MOST_FIELD_CHARACTERS)
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    try:
        columns = _header(path, next(reader, []))
        for number, values in enumerate(filter(None, reader), start=1):
            if len(values) != len(columns):
                raise CliError(
                    f"{path}, row {number} (line {reader.line_num}): {len(values)} values for {len(columns)} columns",
                    Exit.INVALID_INPUT,
                )
            yield dict(zip(columns, values, strict=True))
    except csv.Error as error:
        raise CliError(f"{path}, line {reader.line_num}: {error}", Exit.INVALID_INPUT) from None


def _header(path: Path, columns: list[str]) -> list[str]:
    twice = {name for name in columns if columns.count(name) > 1}
    if twice:
        raise CliError(f"{path}: the header names {', '.join(sorted(twice))!r} twice", Exit.INVALID_INPUT)
    return columns


def _objects(path: Path, stream: IO[str]) -> Iterator[Row]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise CliError(f"{path}, line {number}: not a JSON object", Exit.INVALID_INPUT)
        yield row


@contextmanager
def writing(path: Path, columns: Sequence[str]) -> Iterator[Write]:
    """Gives what writes a row, in the format that the name says; the name is taken when all are written.

    Raises OSError. What UTF-8 cannot hold (half a character, from a model) becomes `?`.
    """
    kind, part = kind_of(path), path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8", errors="replace", newline="") as stream:
            yield _json_writer(stream) if kind == "jsonl" else _csv_writer(stream, columns, DELIMITERS[kind])
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _json_writer(stream: IO[str]) -> Write:
    def write(row: Row) -> None:
        stream.write(json.dumps(row, ensure_ascii=False) + "\n")

    return write


def _csv_writer(stream: IO[str], columns: Sequence[str], delimiter: str) -> Write:
    writer = csv.DictWriter(stream, columns, delimiter=delimiter, lineterminator="\n")
    writer.writeheader()

    def write(row: Row) -> None:
        if more := row.keys() - set(columns):
            raise CliError(f"a row has {', '.join(sorted(more))}, which the first has not: write a .jsonl", Exit.USAGE)
        writer.writerow({name: text_of(value) for name, value in row.items()})

    return write


def text_of(value: Any) -> str:
    """A value as text: texts as they are, all else as JSON, nothing as nothing."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
