"""`zerobatch download`: the files of a batch that has ended."""

from pathlib import Path

import typer

from apps.cli import options
from apps.cli.exits import CliError, Exit
from apps.cli.follow import collect


def download(
    batch_id: options.BatchId,
    *,
    output: options.Output = None,
    errors: options.Errors = None,
    force: options.Force = False,
    as_json: options.Json = False,
    base_url: options.BaseUrl = None,
    api_key: options.ApiKey = None,
    project_id: options.ProjectId = None,
    config: options.Config = None,
) -> None:
    """Fetch the answers and the failed lines of BATCH; one that was interrupted goes on where it stopped.

    Without -o and --errors they go to BATCH.output.jsonl and BATCH.errors.jsonl.
    """
    terminal = options.terminal(output, as_json=as_json)
    into = options.destinations(output, errors, Path(batch_id), force=force)
    api = options.connect(base_url, api_key, project_id, config)
    batch = api.batch(batch_id)
    if not batch.is_terminal:
        raise CliError(
            f"{batch.id} is {batch.status}, {batch.done:,} of {batch.total:,} lines done: nothing to fetch yet. "
            f"To wait for it: zerobatch run --resume {batch.id} {into.options()}",
            Exit.NOT_COMPLETED,
        )
    raise typer.Exit(collect(api, batch, into, terminal))
