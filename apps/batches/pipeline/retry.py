"""Makes a new batch of the lines of an ended one that failed for a passing reason."""

from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from django.contrib.auth.models import User
from django.db import Error

from apps.api.errors import Conflict, InvalidRequest, NotFound, StorageError
from apps.api.ids import line_number
from apps.batches.codes import PASSING
from apps.batches.lifecycle import BatchRequest
from apps.batches.models import Batch
from apps.batches.pipeline.submit import submit
from apps.files import storage, uploads
from apps.files.jsonl import Line, read_lines
from apps.files.models import File
from apps.files.uploads import Remember, do_not_remember
from apps.projects.models import ApiKey

log = structlog.get_logger(__name__)

MOST_LINE_BYTES = 64 * 1024 * 1024
"""These lines were taken once: only a bound for the memory."""


@dataclass(frozen=True)
class Retry:
    """Who asks for what: lines of `batch` whose error has one of `codes`, in the name of a key or of a member.

    `metadata` and `output_expires_after` are the original's unless others are given.
    """

    batch: Batch
    api_key: ApiKey | None
    submitted_by: User | None = None
    codes: Collection[str] = PASSING
    metadata: dict[str, Any] | None = None
    output_expires_after: int | None = None
    remember: Remember = do_not_remember


class _ErrorLine(msgspec.Struct):
    class Error(msgspec.Struct):
        code: str

    id: str
    error: Error


_errors = msgspec.json.Decoder(_ErrorLine)


def retry(wanted: Retry) -> Batch:
    """The new batch, in progress, with `retry_of`; what starts its work is the caller's to send.

    Its input is a file of its own: the chosen lines, byte for byte and in their order. It is registered in the
    transaction that creates the batch, so that a crash leaves an object without a row, which nobody sees. Memory is a
    number a line. Raises Conflict (the batch has not ended), InvalidRequest (it has no such lines), NotFound (a file
    of it is gone), StorageError, and what `submit` raises; then the new file is gone too.
    """
    chosen = _chosen(wanted)
    if not chosen:
        raise nothing_to_retry()
    stored = _copy_lines(wanted.batch, chosen)
    try:
        return submit(_request(wanted, stored))
    except BaseException:
        with suppress(Error, StorageError):  # what cannot be removed now is the purge's
            _forget(stored)
        raise


def _request(wanted: Retry, stored: File) -> BatchRequest:
    old, expires_after = wanted.batch, wanted.output_expires_after
    return BatchRequest(
        project=old.project,
        api_key=wanted.api_key,
        submitted_by=wanted.submitted_by,
        input_file_id=stored.pk,
        endpoint=old.endpoint,
        metadata=old.metadata if wanted.metadata is None else wanted.metadata,
        output_expires_after=old.output_expires_after if expires_after is None else expires_after,
        remember=wanted.remember,
        retry_of=old,
        new_input=stored,
    )


def _chosen(wanted: Retry) -> set[int]:
    """Numbers of the input's lines that are to be sent again; the error file's lines name them by their ids."""
    batch = wanted.batch
    if not batch.is_terminal:
        raise not_ended(batch)
    if batch.error_file_id is None:
        return set()
    failed = (_errors.decode(text) for _, text, *_ in _lines(batch, "error") if text is not None)
    return {line_number(line.id) for line in failed if line.error.code in wanted.codes}


def _copy_lines(batch: Batch, chosen: Collection[int]) -> File:
    """The new input, stored but not registered. It is never longer than the original, which may end without an LF."""
    copied = 0
    with storage.Spool(f"retry-of-{batch.pk}.jsonl") as spool:
        for number, text, start, end in _lines(batch, "input"):
            if number in chosen and text is not None:
                spool.write(text + b"\n" if end - start > len(text) else text)
                copied += 1
        if copied != len(chosen):
            log.error("lines of the input are missing", batch_id=batch.pk, chosen=len(chosen), copied=copied)
            raise StorageError
        return uploads.put(batch.project, spool, None)


def _lines(batch: Batch, which: str) -> Iterator[Line]:
    """The lines of the batch's `input` or `error` file. Raises NotFound if it is gone, StorageError."""
    name, param = f"{which.capitalize()} file", f"{which}_file_id"
    file_id = getattr(batch, param)
    stored = File.objects.live().filter(pk=file_id).first()
    if stored is None:
        raise NotFound(f"{name} not found: {file_id}", code="file_not_found", param=param)
    try:
        stream = storage.open_object(stored.object_key)
    except FileNotFoundError:
        raise NotFound(f"{name} object missing: {file_id}", code="file_not_found", param=param) from None
    with closing(stream), storage.storage_errors("read", stored.object_key):
        yield from read_lines(stream, max_line_bytes=MOST_LINE_BYTES)


def _forget(stored: File) -> None:
    """Removes an input for which there is no batch, or only a rejected one; one that a batch reads stays."""
    registered = File.objects.filter(pk=stored.pk).first()
    if registered is None:
        storage.discard(stored.object_key)
    elif not registered.readers:
        uploads.delete(registered)


def not_ended(batch: Batch) -> Conflict:
    """The error for a batch some of whose lines may still fail."""
    return Conflict(f"Batch is {batch.status}; wait until it has ended", code="batch_not_retryable", param="batch_id")


def nothing_to_retry() -> InvalidRequest:
    """The error for a batch in which no line failed so."""
    message = "No line of the batch failed with one of these error codes"
    return InvalidRequest(message, code="nothing_to_retry", param="codes")
