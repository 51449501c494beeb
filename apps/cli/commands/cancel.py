"""`zerobatch cancel`: stops a batch; what is done is kept."""

from apps.cli import options
from apps.cli.terminal import Terminal


def cancel(
    batch_id: options.BatchId,
    *,
    as_json: options.Json = False,
    base_url: options.BaseUrl = None,
    api_key: options.ApiKey = None,
    project_id: options.ProjectId = None,
    config: options.Config = None,
) -> None:
    """Cancel BATCH. Lines that were sent finish, and what is done is kept."""
    batch = options.connect(base_url, api_key, project_id, config).cancel(batch_id)
    text = f"{batch.id} is {batch.status}, {batch.done:,} of {batch.total:,} lines done"
    Terminal(as_json=as_json).result(text, batch.raw)
