"""Makes a new batch of the lines of an ended one that failed for a passing reason."""

from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass

import msgspec
from django.conf import settings
from django.contrib.auth.models import User

from apps.api.errors import Conflict, NotFound
from apps.batches.codes import PASSING
from apps.batches.lifecycle import BatchRequest, input_not_found
from apps.batches.models import Batch
from apps.batches.pipeline.submit import submit
from apps.batches.pipeline.validate import short_id
from apps.files import storage, uploads
from apps.files.jsonl import read_lines
from apps.files.models import File
from apps.projects.models import ApiKey

MOST_ERROR_LINE_BYTES = 2 * 1024 * 1024
"""Above the longest error line: an id of a megabyte, and a message."""


@dataclass(frozen=True)
class Retry:
    """Who asks for what: lines of `batch` whose error has one of `codes`, in the name of a key or of a member."""

    batch: Batch
    api_key: ApiKey | None
    submitted_by: User | None = None
    codes: Collection[str] = PASSING


class _ErrorLine(msgspec.Struct):
    class Error(msgspec.Struct):
        code: str

    custom_id: str
    error: Error


class _Named(msgspec.Struct):
    custom_id: str


_errors = msgspec.json.Decoder(_ErrorLine)
_names = msgspec.json.Decoder(_Named)


def retry(wanted: Retry) -> Batch:
    """The new batch, in progress, with `retry_of` in its metadata; what starts its work is the caller's to send.

    Its input is a file of its own: the chosen lines, byte for byte and in their order. Memory is an id a line.
    Raises Conflict (the batch has not ended, or has no such lines), NotFound (its input is gone), StorageError.
    """
    chosen = _chosen(wanted)
    if not chosen:
        raise Conflict("The batch has no failed lines that can be retried", code="batch_not_retryable")
    stored = _copy_lines(wanted.batch, chosen)
    return submit(
        BatchRequest(
            project=wanted.batch.project,
            api_key=wanted.api_key,
            submitted_by=wanted.submitted_by,
            input_file_id=stored.pk,
            endpoint=wanted.batch.endpoint,
            metadata={**wanted.batch.metadata, "retry_of": wanted.batch.pk},
            output_expires_after=wanted.batch.output_expires_after,
        )
    )


def _chosen(wanted: Retry) -> set[str | bytes]:
    batch = wanted.batch
    if not batch.is_terminal:
        raise Conflict(f"Batch is {batch.status}; wait until it has ended", code="batch_not_retryable")
    failed = File.objects.live().filter(pk=batch.error_file_id).first()
    if failed is None:
        return set()
    found = (_errors.decode(text) for text in _texts(failed, MOST_ERROR_LINE_BYTES))
    return {short_id(line.custom_id) for line in found if line.error.code in wanted.codes}


def _copy_lines(batch: Batch, chosen: set[str | bytes]) -> File:
    source = File.objects.live().filter(pk=batch.input_file_id).first()
    if source is None:
        raise input_not_found(batch.input_file_id)
    with storage.Spool(f"retry-of-{batch.pk}.jsonl") as spool:
        for text in _texts(source, settings.MAX_LINE_BYTES):
            if short_id(_names.decode(text).custom_id) in chosen:
                spool.write(text + b"\n")
        return uploads.store_upload(batch.project, spool, None)


def _texts(stored: File, most_bytes: int) -> Iterator[bytes]:
    try:
        stream = storage.open_object(stored.object_key)
    except FileNotFoundError:
        message = f"File object missing: {stored.pk}"
        raise NotFound(message, code="file_not_found", param="batch_id") from None
    with closing(stream), storage.storage_errors("read", stored.object_key):
        for line in read_lines(stream, max_line_bytes=most_bytes):
            if line.text is not None:
                yield line.text
