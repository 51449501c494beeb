"""`zerobatch run`: from an input file to its answers."""

from pathlib import Path
from typing import Annotated

import typer

from apps.cli import options, submit
from apps.cli.exits import CliError, Exit
from apps.cli.follow import follow


def run(
    path: Annotated[
        Path | None, typer.Argument(metavar="[INPUT]", help="A JSONL of requests.", show_default=False)
    ] = None,
    *,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="BATCH", help="Come back to a batch that exists already.")
    ] = None,
    output: options.Output = None,
    errors: options.Errors = None,
    endpoint: options.Endpoint = None,
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", metavar="NAME=VALUE", help="Kept with the batch; may be repeated.")
    ] = None,
    no_check: Annotated[bool, typer.Option("--no-check", help="Let only the server check the lines.")] = False,
    detach: options.Detach = False,
    force: options.Force = False,
    as_json: options.Json = False,
    base_url: options.BaseUrl = None,
    api_key: options.ApiKey = None,
    project_id: options.ProjectId = None,
    config: options.Config = None,
) -> None:
    """Check INPUT, upload it, create a batch, watch it, fetch the answers and sum up.

    Without -o and --errors the answers go to INPUT's name with .output.jsonl, failed lines to .errors.jsonl.
    """
    terminal = options.terminal(output, as_json=as_json)
    named_after = path or (Path(resume) if resume else None)
    if named_after is None:
        raise CliError("name an input, or a batch to --resume", Exit.USAGE)
    into = options.destinations(output, errors, named_after, force=force)
    api = options.connect(base_url, api_key, project_id, config)
    if resume is not None:
        raise typer.Exit(follow(api, api.batch(resume), into, terminal))
    sendable = submit.sendable(named_after, endpoint, skip=no_check)
    labels = submit.parse_metadata(metadata or [])
    batch = submit.submit(api, named_after, sendable, labels, terminal)
    raise typer.Exit(submit.detached(batch, into, terminal) if detach else follow(api, batch, into, terminal))
