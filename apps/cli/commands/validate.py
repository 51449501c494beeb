"""`zerobatch validate`: every bad line of an input, without a server."""

from pathlib import Path
from typing import Annotated

import typer

from apps.cli import check, options
from apps.cli.exits import Exit
from apps.cli.terminal import Terminal, count, size


def validate(
    path: Annotated[Path, typer.Argument(metavar="INPUT", help="A JSONL of requests.")],
    endpoint: options.Endpoint = None,
    as_json: options.Json = False,
) -> None:
    """Check INPUT as the server would, and list every bad line. Needs no server."""
    checked = check.check(path, endpoint)
    facts = f"{count(checked.lines, 'line')}, {size(checked.bytes)}, {checked.endpoint}"
    text = "\n".join(problem.message for problem in checked.problems) or f"{path} is valid: {facts}"
    document = {
        "valid": not checked.problems,
        "lines": checked.lines,
        "bytes": checked.bytes,
        "endpoint": checked.endpoint,
        "model": checked.model,
        "problems": [problem.as_json() for problem in checked.problems],
    }
    Terminal(as_json=as_json).result(text, document)
    raise typer.Exit(Exit.INVALID_INPUT if checked.problems else Exit.OK)
