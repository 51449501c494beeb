"""From an input on disk to a batch on the server."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from apps.batches.pipeline.validate import Problem
from apps.cli import check, upload
from apps.cli.api import Api, Refused
from apps.cli.batch import Batch
from apps.cli.download import Destinations
from apps.cli.exits import CliError, Exit, FileTrouble, Interrupted
from apps.cli.follow import how_to_resume
from apps.cli.terminal import Terminal, count, size

MOST_SHOWN = 20
"""Bad lines that fit on a screen; `validate` lists them all."""


def sendable(path: Path, endpoint: str | None, *, skip: bool) -> str:
    """The batch's endpoint. Raises CliError with the bad lines, unless `skip` leaves the check to the server."""
    if path.exists() and not path.is_file():
        raise FileTrouble(f"{path} is not a regular file: it is read more than once, so save it first")
    if skip:
        return endpoint or check.endpoint_of(path)
    checked = check.check(path, endpoint)
    if checked.problems:
        raise CliError(bad_lines(path, checked.problems), Exit.INVALID_INPUT)
    return checked.endpoint


def bad_lines(path: Path, problems: list[Problem]) -> str:
    shown = [f"  {problem.message}" for problem in problems[:MOST_SHOWN]]
    if len(problems) > MOST_SHOWN:
        shown.append(f"  ... and {len(problems) - MOST_SHOWN:,} more: zerobatch validate {path}")
    return "\n".join([f"{path} cannot be run; nothing was sent:", *shown])


def parse_metadata(pairs: Iterable[str]) -> dict[str, str]:
    """NAME=VALUE each. Raises CliError."""
    for pair in pairs:
        if "=" not in pair:
            raise CliError(f"--metadata is NAME=VALUE, not {pair!r}", Exit.USAGE)
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def submit(api: Api, path: Path, endpoint: str, metadata: dict[str, Any], terminal: Terminal) -> Batch:
    """Uploads and creates. Raises CliError, Interrupted."""
    terminal.say(f"Server: {api.base_url}")
    try:
        file_id = upload.upload(api, path, terminal)
    except KeyboardInterrupt:
        raise Interrupted("interrupted while uploading: no batch was created") from None
    terminal.say(f"Uploaded {path.name} ({size(path.stat().st_size)}) as {file_id}")
    batch = _create(api, file_id, endpoint, metadata)
    terminal.say(f"Created {batch.id}" + (f" with {count(batch.total, 'line')}" if batch.total else ""))
    return batch


def _create(api: Api, file_id: str, endpoint: str, metadata: dict[str, Any]) -> Batch:
    try:
        return api.create(file_id, endpoint, metadata)
    except KeyboardInterrupt:
        raise Interrupted("interrupted while the batch was created: `zerobatch list` shows whether it was") from None
    except Refused as refused:
        if refused.status == 400 and (batch_id := refused.error.get("batch_id")):
            rows = [f"  {problem}" for problem in api.batch(str(batch_id)).problems]
            raise CliError("\n".join(["the server refuses the input:", *rows]), Exit.INVALID_INPUT) from None
        raise


def detached(batch: Batch, into: Destinations, terminal: Terminal) -> Exit:
    """For who does not wait."""
    terminal.result(f"{batch.id} runs.\n{how_to_resume(batch, into)}", {"batch": batch.raw})
    return Exit.OK
