"""`zerobatch merge`: joins results to the rows that they answer."""

import json
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from apps.cli import options, results
from apps.cli.exits import CliError, Exit, FileTrouble
from apps.cli.numbering import IdOf, ids
from apps.cli.rows import Table, Write, open_table, writing
from apps.cli.terminal import Terminal, count

MISSING = "no result"


def merge(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="The rows: .csv, .tsv or .jsonl.")],
    files: Annotated[list[Path], typer.Argument(metavar="RESULTS...", help="Output and error files, in any order.")],
    *,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The table to write: .csv, .tsv or .jsonl.")
    ],
    id_column: Annotated[
        str | None,
        typer.Option(
            "--id", metavar="COLUMN", help="As given to make; without it: custom_id if there is one, else row-N."
        ),
    ] = None,
    answer: Annotated[str, typer.Option("--answer", metavar="NAME", help="The answer's column.")] = "answer",
    error: Annotated[str, typer.Option("--error", metavar="NAME", help="The error's column.")] = "error",
    delimiter: Annotated[
        str | None, typer.Option("--delimiter", metavar="CHAR", help="Between the columns of a CSV.")
    ] = None,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Join results to the rows of TABLE, in the rows' order: two more columns, the answer and the error.

    An answer counts more than an error, and a later file more than an earlier one: name a retry's files last.
    """
    if output.exists() and not force:
        raise CliError(f"{output} exists: name another file with -o, or add --force", Exit.LOCAL_FILE)
    try:
        with ExitStack() as stack:
            found = stack.enter_context(Results(files))
            rows = stack.enter_context(open_table(table, delimiter))
            write = stack.enter_context(writing(output, [*_free(rows.columns, answer, error), answer, error]))
            id_of = ids(id_column or ("custom_id" if "custom_id" in rows.columns else None), rows.columns)
            tally = _join(rows, found, id_of, (answer, error), write)
    except OSError as trouble:
        raise FileTrouble.of(trouble, f"use {trouble.filename or output}") from None
    _tell(tally, output, Terminal(as_json=as_json))


class Results:
    """Where each custom_id's result lies: 50,000 ids and numbers are held, the results stay on disk."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self._files: list[BinaryIO] = []
        self._places: dict[str, tuple[int, int, bool]] = {}
        self._open = ExitStack()

    def __enter__(self) -> "Results":
        for number, path in enumerate(self._paths):
            for head in results.heads(path):
                is_answer = head.code is None
                if is_answer or not self._places.get(head.custom_id, (0, 0, False))[2]:
                    self._places[head.custom_id] = number, head.start, is_answer
            self._files.append(self._open.enter_context(path.open("rb")))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def of(self, custom_id: str) -> tuple[dict[str, Any], bool] | None:
        """The result, and whether it is an answer."""
        place = self._places.get(custom_id)
        if place is None:
            return None
        number, start, is_answer = place
        self._files[number].seek(start)
        # json, unlike faster ones, takes the halves of characters that models produce.
        return json.loads(self._files[number].readline()), is_answer


def _free(columns: list[str], *names: str) -> list[str]:
    """`columns`, if no name of ours is among them. Raises CliError."""
    for name in names:
        if name in columns:
            raise CliError(f"there is a column {name!r} already: choose another name (--answer, --error)", Exit.USAGE)
    return columns


def _join(table: Table, found: Results, id_of: IdOf, names: tuple[str, str], write: Write) -> Counter[str]:
    tally: Counter[str] = Counter()
    for number, row in enumerate(table.rows, start=1):
        *cells, what = _cells(found.of(id_of(number, row)))
        tally[what] += 1
        write(row | dict(zip(names, cells, strict=True)))
    return tally


def _cells(result: tuple[dict[str, Any], bool] | None) -> tuple[str | None, str | None, str]:
    """Answer, error, and what to count it as."""
    if result is None:
        return None, MISSING, "missing"
    document, is_answer = result
    return (
        (results.answer_of(document), None, "answered") if is_answer else (None, results.error_of(document), "failed")
    )


def _tell(tally: Counter[str], output: Path, terminal: Terminal) -> None:
    counts = {name: tally[name] for name in ("answered", "failed", "missing")}
    text = f"{output}: {count(sum(tally.values()), 'row')}, " + ", ".join(f"{n:,} {name}" for name, n in counts.items())
    terminal.result(text, {"output": str(output), **counts})
    raise typer.Exit(Exit.OK if tally["answered"] == sum(tally.values()) else Exit.SOME_FAILED)
