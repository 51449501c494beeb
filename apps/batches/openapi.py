"""What the reference says of /v1/batches (wire.md §6–7)."""

from django.conf import settings
from drf_spectacular.utils import OpenApiExample

from apps.api.errors import Conflict, InvalidRequest, NotFound
from apps.api.openapi import (
    BAD_LIMIT,
    BODY_ERRORS,
    BODY_TOO_LARGE,
    JSON,
    MAYBE_TIMESTAMP,
    STORAGE_AWAY,
    TIMESTAMP,
    Schema,
    an_object,
    header,
    list_of,
    operation,
    path,
    query,
    ref,
)
from apps.batches import codes
from apps.batches.lifecycle import input_not_found
from apps.batches.models import Batch
from apps.batches.pipeline.parts import KINDS, OUTPUT
from apps.batches.pipeline.retry import not_ended, nothing_to_retry
from apps.batches.states import BatchStatus, WaitingReason
from apps.files.openapi import (
    EXPIRY,
    FILE_NOT_FOUND,
    FIRST_BATCH,
    JSONL,
    OUTSIDE,
    RANGE,
    download_headers,
)
from apps.idempotency.openapi import IDEMPOTENCY_KEY, ONCE, ONCE_ERRORS
from apps.projects.openapi import LINES_USED_UP

BATCHES = "Batches"
BATCH_ID = path("batch_id", "A batch's id, such as `batch_cd9d04e1bd5d2e3eb1c6c4ee`.")
NO_BATCH = {404: "There is no such batch: never was, or another project's"}
BATCH_NOT_FOUND = NotFound("Batch not found: batch_1", code="batch_not_found", param="batch_id")

COUNT: Schema = {"type": "integer", "minimum": 0}
TOKENS: dict[str, Schema] = {
    "input_tokens": COUNT,
    "input_tokens_details": an_object(cached_tokens=COUNT),
    "output_tokens": COUNT,
    "output_tokens_details": an_object(reasoning_tokens=COUNT),
    "total_tokens": COUNT,
}
"""Members of what `tokens_json` gives."""


COMPONENTS: dict[str, Schema] = {
    "BatchError": an_object(
        code={"type": "string"},
        line={"type": ["integer", "null"], "description": "1-based line of the input file"},
        message={"type": "string"},
        param={"type": ["string", "null"]},
    ),
    "Batch": an_object(
        id={"type": "string", "pattern": "^batch_"},
        object={"const": "batch"},
        endpoint={"type": "string"},
        errors={
            "description": "every bad line of a rejected input, up to the first hundred",
            "anyOf": [
                {"type": "null"},
                an_object(object={"const": "list"}, data={"type": "array", "items": ref("BatchError")}),
            ],
        },
        input_file_id={"type": "string"},
        completion_window={"const": "24h"},
        status={"enum": list(BatchStatus.values)},
        status_reason={
            "enum": [*WaitingReason.values, None],
            "description": "why a batch in progress sends nothing just now; for people, not for programs",
        },
        output_file_id={"type": ["string", "null"], "description": "set when at least one line succeeded"},
        error_file_id={"type": ["string", "null"], "description": "set when at least one line did not"},
        retry_of={"type": ["string", "null"], "description": "the batch whose failed lines this one sends again"},
        created_at=TIMESTAMP,
        expires_at=TIMESTAMP,
        in_progress_at=MAYBE_TIMESTAMP,
        finalizing_at=MAYBE_TIMESTAMP,
        completed_at=MAYBE_TIMESTAMP,
        failed_at=MAYBE_TIMESTAMP,
        expired_at=MAYBE_TIMESTAMP,
        cancelling_at=MAYBE_TIMESTAMP,
        cancelled_at=MAYBE_TIMESTAMP,
        request_counts=an_object(total=COUNT, completed=COUNT, failed=COUNT),
        model={"type": ["string", "null"], "description": "the one model of the batch; null when lines differ"},
        usage=an_object(**TOKENS),
        metadata={"type": "object", "description": "as it was sent"},
    ),
}

CREATE: Schema = {
    "type": "object",
    "required": ["input_file_id", "endpoint"],
    "properties": {
        "input_file_id": {"type": "string", "minLength": 1},
        "endpoint": {"enum": sorted(settings.ALLOWED_ENDPOINTS), "description": "the `url` of every line"},
        "completion_window": {"const": "24h", "default": "24h"},
        "metadata": {"type": "object", "description": "up to 16 KB, echoed unchanged"},
        "output_expires_after": {
            **EXPIRY,
            "description": "when the result files go; 30 days after they were made unless told",
        },
    },
}

create = operation(
    name="batches.create",
    tags=[FIRST_BATCH, BATCHES],
    summary="Create a batch",
    description=(
        "Checks every line of the input file and answers when the batch is durably stored. Of a bad input the answer "
        "names the first bad line, and the batch `batch_id` all of them."
    ),
    parameters=[IDEMPOTENCY_KEY],
    takes={JSON: CREATE},
    examples=[
        OpenApiExample(
            "a batch",
            value={
                "input_file_id": "file-…",
                "endpoint": sorted(settings.ALLOWED_ENDPOINTS)[0],
                "completion_window": "24h",
                "metadata": {"name": "my first batch"},
            },
            request_only=True,
        )
    ],
    answers={200: (ref("Batch"), "The batch, in progress")},
    refuses={**ONCE, 400: "A bad member, or bad lines", 404: "There is no such input file", **BODY_TOO_LARGE},
    errors=[
        LINES_USED_UP,
        *ONCE_ERRORS,
        *BODY_ERRORS,
        InvalidRequest("input_file_id is required", param="input_file_id"),
        InvalidRequest("endpoint is required", param="endpoint"),
        InvalidRequest('completion_window must be "24h"', param="completion_window"),
        InvalidRequest("metadata must be an object", param="metadata"),
        InvalidRequest(
            'Line 7 duplicates custom_id "request-1"', param="custom_id", extra={"batch_id": "batch_1", "line": 7}
        ),
        NotFound("Input file not found: file-1", code="file_not_found", param="input_file_id"),
        STORAGE_AWAY,
    ],
)

list_batches = operation(
    name="batches.list",
    tags=[BATCHES],
    summary="List batches",
    description="Newest first.",
    parameters=[
        query("limit", {"type": "integer", "default": 20}, "Less than 1 is 1, more than 100 is 100."),
        query("after", {"type": "string"}, "The id of the batch that the previous page ended with."),
    ],
    answers={200: (list_of("Batch"), "One page")},
    refuses={400: "A limit that is no number", 404: "There is no batch `after`"},
    errors=[
        BAD_LIMIT,
        NotFound("Batch not found: batch_1", code="batch_not_found", param="after"),
    ],
)

retrieve = operation(
    name="batches.retrieve",
    tags=[FIRST_BATCH, BATCHES],
    summary="Retrieve a batch",
    description="With live counts. Poll it until its status is `completed`, `failed`, `expired` or `cancelled`.",
    parameters=[BATCH_ID],
    answers={200: (ref("Batch"), "The batch")},
    refuses=NO_BATCH,
    errors=[BATCH_NOT_FOUND],
)

cancel = operation(
    name="batches.cancel",
    tags=[BATCHES],
    summary="Cancel a batch",
    description="Lines already sent finish and are kept, the rest become `batch_cancelled` errors. Twice does no harm.",
    parameters=[BATCH_ID],
    answers={200: (ref("Batch"), "The batch, cancelling or cancelled")},
    refuses={**NO_BATCH, 409: "It has ended otherwise"},
    errors=[
        BATCH_NOT_FOUND,
        Conflict("Batch is completed and can no longer be cancelled", code="batch_not_cancellable"),
    ],
)

RETRY: Schema = {
    "type": "object",
    "properties": {
        "codes": {
            "type": "array",
            "minItems": 1,
            "items": {"enum": sorted(codes.EVERY)},
            "default": sorted(codes.PASSING),
            "description": "lines that failed with one of these",
        },
        "metadata": {"type": "object", "description": "instead of the original's"},
        "output_expires_after": {**EXPIRY, "description": "instead of the original's"},
    },
}

retry = operation(
    name="batches.retry",
    tags=[BATCHES],
    summary="Retry failed lines",
    description=(
        "Creates a new batch of those lines of an ended one that failed for a passing reason, or with the error codes "
        "that are named. Its input is a new file; the original does not change."
    ),
    parameters=[BATCH_ID, IDEMPOTENCY_KEY],
    takes={JSON: RETRY},
    answers={200: (ref("Batch"), "The new batch, in progress")},
    refuses={
        400: "A bad member, or no line failed so",
        404: "There is no such batch, or its input or error file is gone",
        409: f"The batch has not ended. Or: {ONCE[409][0].lower()}{ONCE[409][1:]}",
        **BODY_TOO_LARGE,
    },
    errors=[
        LINES_USED_UP,
        *ONCE_ERRORS,
        *BODY_ERRORS,
        BATCH_NOT_FOUND,
        not_ended(Batch(status=BatchStatus.IN_PROGRESS)),
        nothing_to_retry(),
        InvalidRequest("codes must be a list of at least one error code", param="codes"),
        InvalidRequest("metadata must be an object", param="metadata"),
        input_not_found("file-1"),
        STORAGE_AWAY,
    ],
)

output = operation(
    name="batches.output",
    tags=[BATCHES],
    summary="Download results so far",
    description=(
        "While the batch runs: the lines of those pieces of it that are done, in the order of the input, with "
        "`x-incomplete: true`. Afterwards: the bytes of its output or error file, or nothing if it has none."
    ),
    parameters=[
        BATCH_ID,
        query("kind", {"enum": list(KINDS), "default": OUTPUT}, "Answers, or lines that failed."),
        RANGE,
        *download_headers("bytes", "none"),
        header("x-incomplete", {"const": "true"}, "The batch has not ended: more may come.", 200, required=False),
    ],
    answers={
        (200, JSONL): ({"type": "string"}, "One JSON object a line"),
        (206, JSONL): ({"type": "string"}, "The range that was asked for, once the batch has ended"),
    },
    refuses={
        400: "Another kind",
        404: "There is no such batch, or its file was deleted or has expired",
        416: "The range begins behind the file's end",
    },
    errors=[
        BATCH_NOT_FOUND,
        FILE_NOT_FOUND,
        InvalidRequest('kind must be "output" or "error"', param="kind"),
        OUTSIDE,
        STORAGE_AWAY,
    ],
)
