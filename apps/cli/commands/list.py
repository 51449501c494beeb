"""`zerobatch list`: the newest batches."""

from typing import Annotated

import typer

from apps.cli import options
from apps.cli.batch import Batch
from apps.cli.commands.status import moment
from apps.cli.terminal import Terminal, table

HEADER = ("BATCH", "STATUS", "DONE", "FAILED", "LINES", "CREATED", "MODEL")


def list_(
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="How many.")] = 20,
    after: Annotated[str | None, typer.Option("--after", metavar="BATCH", help="Those older than this one.")] = None,
    as_json: options.Json = False,
    base_url: options.BaseUrl = None,
    api_key: options.ApiKey = None,
    project_id: options.ProjectId = None,
    config: options.Config = None,
) -> None:
    """List batches, newest first."""
    terminal = Terminal(as_json=as_json)
    page = options.connect(base_url, api_key, project_id, config).batches(limit=limit, after=after)
    batches = [Batch(each) for each in page["data"]]
    terminal.result(table([HEADER, *map(_row, batches)]) if batches else "There are no batches.", page)
    if page.get("has_more") and batches and not as_json:
        terminal.say(f"There are more: zerobatch list --after {batches[-1].id}")


def _row(batch: Batch) -> tuple[str, ...]:
    numbers = (str(number) for number in (batch.done, batch.failed, batch.total))
    return (
        batch.id,
        batch.status,
        *numbers,
        moment(batch.raw.get("created_at")) or "-",
        str(batch.raw.get("model") or "-"),
    )
