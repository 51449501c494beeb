"""The options that several commands share, and the server they lead to."""

import os
from pathlib import Path
from typing import Annotated

import typer

from apps.cli import settings
from apps.cli.api import Api
from apps.cli.download import STDOUT, Destinations
from apps.cli.exits import CliError, Exit
from apps.cli.terminal import Terminal

SERVER = "Server"
BaseUrl = Annotated[
    str | None,
    typer.Option("--base-url", metavar="URL", help="The server, or ZEROBATCH_BASE_URL.", rich_help_panel=SERVER),
]
ApiKey = Annotated[
    str | None, typer.Option("--api-key", metavar="KEY", help="Its key, or ZEROBATCH_API_KEY.", rich_help_panel=SERVER)
]
ProjectId = Annotated[
    str | None,
    typer.Option(
        "--project-id",
        metavar="ID",
        help="Only if the server asks for it, or ZEROBATCH_PROJECT_ID.",
        rich_help_panel=SERVER,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="A TOML file with base_url and api_key, or ZEROBATCH_CONFIG.",
        rich_help_panel=SERVER,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, for machines.")]
Force = Annotated[bool, typer.Option("--force", help="Write over files that exist.")]
Detach = Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where the answers go; - is stdout.")
]
Errors = Annotated[Path | None, typer.Option("--errors", metavar="FILE", help="Where the failed lines go.")]
Endpoint = Annotated[
    str | None, typer.Option("--endpoint", metavar="URL", help="The batch's endpoint; by default the first line's url.")
]
BatchId = Annotated[str, typer.Argument(metavar="BATCH", help="The batch's id.", show_default=False)]


def connect(base_url: str | None, api_key: str | None, project_id: str | None, config: Path | None) -> Api:
    """The server that options, environment and files name. Raises CliError."""
    given = {"base_url": base_url, "api_key": api_key, "project_id": project_id}
    return Api(settings.load(given, os.environ, config))


def terminal(output: Path | None, *, as_json: bool) -> Terminal:
    """For a command whose answers may go to stdout. Raises CliError."""
    if as_json and output == STDOUT:
        raise CliError("-o - and --json both want stdout: choose one", Exit.USAGE)
    return Terminal(as_json=as_json, quiet_stdout=output == STDOUT)


def destinations(output: Path | None, errors: Path | None, named_after: Path, *, force: bool) -> Destinations:
    """Where a batch's files go: by default beside the input, named after it. Raises CliError."""
    stem = named_after.with_suffix("") if named_after.suffix in {".jsonl", ".ndjson"} else named_after
    stem = stem.with_name(stem.name.removesuffix(".input"))
    into = Destinations(
        output or stem.with_name(f"{stem.name}.output.jsonl"), errors or stem.with_name(f"{stem.name}.errors.jsonl")
    )
    if into.errors in {STDOUT, into.output}:
        raise CliError("--errors must name a file, and another one than -o", Exit.USAGE)
    if not force:
        into.refuse_what_exists()
    return into
