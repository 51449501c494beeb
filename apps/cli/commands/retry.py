"""`zerobatch retry`: a new batch of the lines that failed for a passing reason."""

import tempfile
from pathlib import Path
from typing import Annotated

import orjson
import typer

from apps.batches.codes import CANCELLED, PASSING
from apps.cli import download, options, results, submit
from apps.cli.api import Api, Refused
from apps.cli.batch import Batch
from apps.cli.exits import CliError, Exit, FileTrouble
from apps.cli.follow import follow
from apps.cli.terminal import Terminal, count
from apps.files.jsonl import read_lines

MOST_LINE_BYTES = 16 * 1024 * 1024
"""The server took these lines once: only a bound for the memory."""


def retry(
    batch_id: options.BatchId,
    *,
    output: options.Output = None,
    errors: options.Errors = None,
    codes: Annotated[
        list[str] | None,
        typer.Option("--code", metavar="CODE", help="Lines that failed with this too; may be repeated."),
    ] = None,
    cancelled: Annotated[
        bool, typer.Option("--cancelled", help="Lines that a cancel kept from being sent, too.")
    ] = False,
    source: Annotated[
        Path | None, typer.Option("--input", metavar="FILE", help="The input, if the server has it no more.")
    ] = None,
    detach: options.Detach = False,
    force: options.Force = False,
    as_json: options.Json = False,
    base_url: options.BaseUrl = None,
    api_key: options.ApiKey = None,
    project_id: options.ProjectId = None,
    config: options.Config = None,
) -> None:
    """Run the lines of BATCH again that failed for a passing reason, as a new batch, and follow it.

    Passing are timeout, internal_error, rate_limit_exceeded, insufficient_quota and batch_expired. Without -o and
    --errors the new results go to BATCH.retry.output.jsonl and BATCH.retry.errors.jsonl; give them to merge, after the
    first ones.
    """
    terminal = options.terminal(output, as_json=as_json)
    into = options.destinations(output, errors, Path(f"{batch_id}.retry"), force=force)
    api = options.connect(base_url, api_key, project_id, config)
    old = _ended(api, batch_id)
    wanted = {*(codes or ()), *((CANCELLED,) if cancelled else ())}
    here = source is not None or not old.server_retries
    batch = _by_hand(api, old, wanted, source, terminal) if here else _by_the_server(api, old, wanted, terminal)
    if batch is None:
        terminal.result(f"{old.id} has no line that failed for a passing reason.", {"batch": None})
        return
    raise typer.Exit(submit.detached(batch, into, terminal) if detach else follow(api, batch, into, terminal))


def _by_the_server(api: Api, old: Batch, codes: set[str], terminal: Terminal) -> Batch | None:
    """The new batch, without a line coming here; None if there is nothing to retry. Raises CliError."""
    try:
        batch = api.retry(old.id, PASSING | codes)
    except Refused as refused:
        if refused.error.get("code") == "nothing_to_retry":
            return None
        if refused.error.get("param") == "input_file_id":
            raise _input_is_gone(old) from None
        raise
    terminal.say(f"{count(batch.total, 'line')} of {old.id} failed for a passing reason")
    terminal.say(f"Created {batch.id}")
    return batch


def _by_hand(api: Api, old: Batch, codes: set[str], source: Path | None, terminal: Terminal) -> Batch | None:
    """The same where the server cannot, or has the input no more."""
    with tempfile.TemporaryDirectory(prefix="zerobatch-") as folder:
        lines = Path(folder) / f"{old.id}.retry.jsonl"
        if not _collect(api, old, lines, source=source, codes=codes, terminal=terminal):
            return None
        labels = {**(old.raw.get("metadata") or {}), "retry_of": old.id}
        return submit.submit(api, lines, old.endpoint, labels, terminal)


def _ended(api: Api, batch_id: str) -> Batch:
    batch = api.batch(batch_id)
    if not batch.is_terminal:
        raise CliError(f"{batch.id} is {batch.status}: it must end before lines of it are retried", Exit.NOT_COMPLETED)
    return batch


def _collect(api: Api, old: Batch, into: Path, *, source: Path | None, codes: set[str], terminal: Terminal) -> int:
    """Writes the lines to retry; how many. Raises CliError, FileTrouble."""
    error_id = old.files[1]
    if error_id is None:
        return 0
    try:
        failed = into.with_name("errors.jsonl")
        download.fetch_one(api, error_id, failed, terminal)
        heads = results.heads(failed)
        ids = {head.custom_id for head in heads if head.code and (head.code in codes or results.is_passing(head.code))}
        if not ids:
            return 0
        terminal.say(f"{count(len(ids), 'line')} of {old.id} failed for a passing reason")
        _copy(source or _input(api, old, into.with_name("input.jsonl"), terminal), ids, into)
    except OSError as error:
        raise FileTrouble.of(error, f"use {error.filename or into}") from None
    return len(ids)


def _input(api: Api, old: Batch, path: Path, terminal: Terminal) -> Path:
    try:
        download.fetch_one(api, old.input_file_id, path, terminal)
    except Refused as refused:
        if refused.status != 404:
            raise
        raise _input_is_gone(old) from None
    return path


def _input_is_gone(old: Batch) -> CliError:
    return CliError(f"the server has the input of {old.id} no more: name it with --input")


def _copy(source: Path, ids: set[str], into: Path) -> None:
    """The lines with these custom_ids, byte for byte. Raises CliError when some are not there."""
    missing = set(ids)
    with source.open("rb") as stream, into.open("wb") as sink:
        for line in read_lines(stream, max_line_bytes=MOST_LINE_BYTES):
            custom_id = orjson.loads(line.text or b"{}").get("custom_id")
            if custom_id in missing:
                sink.write((line.text or b"") + b"\n")
                missing.discard(custom_id)
    if missing:
        raise CliError(
            f"{source} lacks {count(len(missing), 'line')} of the batch: is it its input?", Exit.INVALID_INPUT
        )
