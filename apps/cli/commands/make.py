"""`zerobatch make`: an input for a batch, from a table and a prompt."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from apps.cli import check, options
from apps.cli.exits import CliError, Exit, FileTrouble
from apps.cli.numbering import IdOf, ids
from apps.cli.rows import Row, Table, open_table, writing
from apps.cli.template import Template
from apps.cli.terminal import Terminal, count, size

CHAT = "/v1/chat/completions"
BodyOf = Callable[[Row], dict[str, Any]]


def make(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="Rows: .csv, .tsv or .jsonl.")],
    *,
    model: Annotated[str, typer.Option("--model", help="The model that answers.")],
    prompt: Annotated[
        str, typer.Option("--prompt", metavar="TEXT", help='Like "Classify: {text}", or @FILE that holds it.')
    ],
    system: Annotated[str | None, typer.Option("--system", metavar="TEXT", help="A system message, likewise.")] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", metavar="COLUMN", help="Holds the custom_id; without it: row-1, row-2, ...")
    ] = None,
    body: Annotated[
        str, typer.Option("--body", metavar="JSON", help='More for each body, like {"max_tokens": 16}.')
    ] = "{}",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="By default TABLE's name with .input.jsonl.")
    ] = None,
    endpoint: Annotated[str, typer.Option("--endpoint", metavar="URL", help="Where the lines go.")] = CHAT,
    delimiter: Annotated[
        str | None, typer.Option("--delimiter", metavar="CHAR", help="Between the columns of a CSV.")
    ] = None,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Make a JSONL of requests from the rows of TABLE: {column} in the prompt is the row's value there."""
    made = output or table.with_suffix(".input.jsonl")
    if made.exists() and not force:
        raise CliError(f"{made} exists: name another file with -o, or add --force", Exit.LOCAL_FILE)
    try:
        with open_table(table, delimiter) as rows:
            body_of = _body(
                rows,
                endpoint,
                model=model,
                prompt=_text(prompt),
                system=_text(system) if system else None,
                more=_object(body),
            )
            _write(made, rows, ids(id_column, rows.columns), body_of, endpoint)
    except OSError as error:
        raise FileTrouble.of(error, f"use {error.filename or made}") from None
    _tell(check.check(made, endpoint), made, Terminal(as_json=as_json))


def _object(text: str) -> dict[str, Any]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise CliError(f"--body must be a JSON object, not {text}", Exit.USAGE)
    return found


def _text(option: str) -> str:
    """The text itself, or what the file after an @ holds. Raises OSError."""
    return Path(option[1:]).read_text(encoding="utf-8") if option.startswith("@") else option


def _body(table: Table, endpoint: str, *, model: str, prompt: str, system: str | None, more: dict[str, Any]) -> BodyOf:
    """What makes a row's body: messages for a chat, a prompt or an input elsewhere."""
    asked = Template(prompt, table.columns)
    told = Template(system, table.columns) if system else None

    def chat(row: Row) -> dict[str, Any]:
        messages = [{"role": "system", "content": told.fill(row)}] if told else []
        return {"messages": [*messages, {"role": "user", "content": asked.fill(row)}]}

    def plain(row: Row) -> dict[str, Any]:
        return {("prompt" if endpoint == "/v1/completions" else "input"): asked.fill(row)}

    if told and endpoint != CHAT:
        raise CliError(f"--system is for {CHAT} only", Exit.USAGE)
    return lambda row: {"model": model, **(chat if endpoint == CHAT else plain)(row), **more}


def _write(made: Path, table: Table, id_of: IdOf, body_of: BodyOf, endpoint: str) -> None:
    with writing(made, ()) as write:
        for request in _requests(table.rows, id_of, body_of, endpoint):
            write(request)


def _requests(rows: Iterator[Row], id_of: IdOf, body_of: BodyOf, endpoint: str) -> Iterator[Row]:
    for number, row in enumerate(rows, start=1):
        yield {"custom_id": id_of(number, row), "method": "POST", "url": endpoint, "body": body_of(row)}


def _tell(checked: check.Checked, made: Path, terminal: Terminal) -> None:
    """What was made. A line is a row, so the numbers of bad lines are those of their rows."""
    text = f"{made}: {count(checked.lines, 'line')}, {size(checked.bytes)}"
    if checked.problems:
        text = "\n".join([f"{made} cannot be run as it is:", *(f"  {each.message}" for each in checked.problems)])
    problems = [problem.as_json() for problem in checked.problems]
    terminal.result(text, {"output": str(made), "lines": checked.lines, "bytes": checked.bytes, "problems": problems})
    raise typer.Exit(Exit.INVALID_INPUT if checked.problems else Exit.OK)
