"""`zerobatch status`: one batch as it is now."""

from datetime import UTC, datetime
from typing import Any

from apps.cli import options
from apps.cli.batch import Batch
from apps.cli.terminal import Terminal, table

MOMENTS = ("created_at", "completed_at", "failed_at", "expired_at", "cancelled_at", "expires_at")


def status(
    batch_id: options.BatchId,
    *,
    as_json: options.Json = False,
    base_url: options.BaseUrl = None,
    api_key: options.ApiKey = None,
    project_id: options.ProjectId = None,
    config: options.Config = None,
) -> None:
    """Show BATCH as it is now."""
    batch = options.connect(base_url, api_key, project_id, config).batch(batch_id)
    Terminal(as_json=as_json).result(describe(batch), batch.raw)


def describe(batch: Batch) -> str:
    """What there is to say, a line each."""
    output_id, error_id = batch.files
    facts: dict[str, Any] = {
        "batch": batch.id,
        "status": batch.status + (f", waits: {batch.reason}" if batch.reason else ""),
        "lines": f"{batch.done:,} of {batch.total:,} done, {batch.failed:,} failed",
        "tokens": f"{batch.tokens:,}" if batch.tokens else None,
        "model": batch.raw.get("model"),
        "endpoint": batch.endpoint,
        "input": batch.input_file_id,
        "output": output_id,
        "errors": error_id,
        **{name.removesuffix("_at"): moment(batch.raw.get(name)) for name in MOMENTS},
        "metadata": ", ".join(f"{name}={value}" for name, value in (batch.raw.get("metadata") or {}).items()),
    }
    shown = table([(name, str(value)) for name, value in facts.items() if value])
    return "\n".join([shown, *batch.problems])


def moment(seconds: Any) -> str | None:
    """A time of the wire as local time."""
    if not isinstance(seconds, int):
        return None
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
