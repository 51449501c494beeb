"""The first stage: has the input checked and planned, and stores the batch, before the client gets its answer."""

import time

import structlog
from django.conf import settings

from apps.api.errors import InvalidRequest, NotFound, StorageError
from apps.api.ids import is_wellformed
from apps.batches import lifecycle
from apps.batches.lifecycle import BatchRequest
from apps.batches.models import Batch
from apps.batches.pipeline.plan import plan
from apps.batches.pipeline.validate import InvalidInput, Limits, Problem, Validation
from apps.files import storage
from apps.files.models import File, Purpose
from apps.observability import failpoints, traces

log = structlog.get_logger(__name__)


def submit(request: BatchRequest) -> Batch:
    """The batch, in progress and durable; what starts its work is the caller's to send.

    Raises NotFound (no such input), InvalidRequest (bad input: the first problem with its `line`, and the `batch_id`
    of the failed batch that lists them all), QuotaExceeded, StorageError. No transaction is open while the file is
    read.
    """
    started_at = time.time()
    input_file = request.new_input or _find_input(request)
    validation = Validation(request.endpoint, _limits())
    try:
        _read(input_file, validation)
    except InvalidInput as invalid:
        raise _rejected(request, input_file, invalid.problems) from None
    failpoints.reach("create.validated")
    chunks = plan(validation.index, chunk_bytes=settings.CHUNK_BYTES)
    total = len(validation.index)
    batch = lifecycle.create(request, input_file, chunks=chunks, total=total, model=validation.model)
    traces.told_afterwards("create", batch.pk, started_at, lines=total)
    return batch


def _find_input(request: BatchRequest) -> File:
    mine = File.objects.live().filter(project=request.project, purpose=Purpose.BATCH)
    found = mine.filter(pk=request.input_file_id).first() if is_wellformed(request.input_file_id) else None
    if found is None:
        raise lifecycle.input_not_found(request.input_file_id)
    return found


def _limits() -> Limits:
    return Limits(
        lines=settings.MAX_BATCH_LINES,
        line_bytes=settings.MAX_LINE_BYTES,
        endpoints=frozenset(settings.ALLOWED_ENDPOINTS),
    )


def _read(input_file: File, validation: Validation) -> None:
    if input_file.bytes > settings.MAX_BATCH_BYTES:
        raise InvalidInput([Problem(f"Input file exceeds maximum size of {settings.MAX_BATCH_BYTES} bytes")])
    try:
        stream = storage.open_object(input_file.object_key)
    except FileNotFoundError:
        message = f"Input file object missing: {input_file.pk}"
        raise NotFound(message, code="file_not_found", param="input_file_id") from None
    try:
        with stream:
            validation.read(stream)
    except OSError as error:
        log.exception("storage failed", action="read", key=input_file.object_key)
        raise StorageError from error


def _rejected(request: BatchRequest, input_file: File, problems: list[Problem]) -> InvalidRequest:
    return refusal(lifecycle.create_failed(request, input_file, [problem.as_json() for problem in problems]))


def refusal(batch: Batch) -> InvalidRequest:
    """The error for a rejected input, from the failed batch that remembers it: its first problem (wire.md §6)."""
    first = batch.errors["data"][0]
    extra = {"batch_id": batch.pk} | ({"line": first["line"]} if first["line"] else {})
    return InvalidRequest(first["message"], param=first["param"], extra=extra)
