"""What the reference says of /v1/files (wire.md §4) and /v1/uploads (wire.md §5)."""

from django.conf import settings
from drf_spectacular.utils import OpenApiExample, OpenApiParameter

from apps.api.errors import InvalidRequest, NotFound, RangeNotSatisfiable, TooLarge
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
from apps.files.in_parts import MOST_PARTS
from apps.files.models import Purpose, UploadStatus
from apps.files.uploads import LEAST_EXPIRY_SECONDS, MOST_EXPIRY_SECONDS
from apps.idempotency.openapi import IDEMPOTENCY_KEY, ONCE, ONCE_ERRORS
from apps.projects.openapi import BYTES_USED_UP

FILES = "Files"
UPLOADS = "Uploads"
FIRST_BATCH = "Your first batch"
JSONL = "application/jsonl"

ANCHOR: Schema = {"const": "created_at"}
SECONDS: Schema = {"type": "integer", "minimum": LEAST_EXPIRY_SECONDS, "maximum": MOST_EXPIRY_SECONDS}
EXPIRY: Schema = {"anyOf": [{"type": "null"}, an_object(anchor=ANCHOR, seconds=SECONDS)]}
"""`expires_after` and `output_expires_after` in JSON."""
FILE_ID = path("file_id", "A file's id, such as `file-ea00d6103f9a9f25d49cec82`.")
NO_FILE = {404: "There is no such file: never was, deleted, expired, or another project's"}
FORM_ERRORS = (
    InvalidRequest("Content-Type must be multipart/form-data", code="invalid_content_type"),
    InvalidRequest("The multipart body could not be parsed: malformed", code="invalid_multipart"),
)
"""Of calls that take a form."""
FILE_NOT_FOUND = NotFound("File file-1 not found", code="file_not_found", param="file_id")

COMPONENTS: dict[str, Schema] = {
    "File": {
        "type": "object",
        "required": ["id", "object", "bytes", "created_at", "filename", "purpose", "status", "expires_at"],
        "properties": {
            "id": {"type": "string", "pattern": "^file-"},
            "object": {"const": "file"},
            "bytes": {"type": "integer", "minimum": 0},
            "created_at": TIMESTAMP,
            "filename": {"type": "string"},
            "purpose": {"enum": list(Purpose.values)},
            "status": {"const": "processed"},
            "expires_at": MAYBE_TIMESTAMP,
            "is_error": {"const": True, "description": "an error file's; absent otherwise"},
        },
    },
    "Upload": an_object(
        id={"type": "string", "pattern": "^upload_"},
        object={"const": "upload"},
        bytes={"type": "integer", "minimum": 1},
        created_at=TIMESTAMP,
        filename={"type": "string"},
        purpose={"const": "batch"},
        status={"enum": list(UploadStatus.values)},
        expires_at=TIMESTAMP,
        file={"description": "once it is completed", "anyOf": [{"type": "null"}, ref("File")]},
    ),
    "UploadPart": an_object(
        id={"type": "string", "pattern": "^part_"},
        object={"const": "upload.part"},
        created_at=TIMESTAMP,
        upload_id={"type": "string"},
    ),
}

UPLOAD: Schema = {
    "type": "object",
    "required": ["purpose", "file"],
    "properties": {
        "purpose": {"const": "batch", "type": "string", "default": "batch"},
        "file": {"type": "string", "format": "binary", "minLength": 1, "description": "JSONL, one request a line"},
        "expires_after[anchor]": {**ANCHOR, "type": "string"},
        "expires_after[seconds]": SECONDS,
    },
    "dependentRequired": {
        "expires_after[anchor]": ["expires_after[seconds]"],
        "expires_after[seconds]": ["expires_after[anchor]"],
    },
}

upload = operation(
    name="files.create",
    tags=[FIRST_BATCH, FILES],
    summary="Upload a file",
    description=(
        f"A JSONL file of up to {settings.MAX_UPLOAD_BYTES:,} bytes. It is stored as it is: its lines are checked when "
        "the batch is created."
    ),
    parameters=[IDEMPOTENCY_KEY],
    takes={"multipart/form-data": UPLOAD},
    answers={200: (ref("File"), "The file")},
    refuses={**ONCE, 400: "Not a multipart form, no file, an empty one, or another purpose", 413: "Too large"},
    errors=[
        BYTES_USED_UP,
        *ONCE_ERRORS,
        *FORM_ERRORS,
        InvalidRequest('purpose must be "batch"', code="invalid_purpose", param="purpose"),
        InvalidRequest("A file is required in the form field `file`", code="missing_file", param="file"),
        InvalidRequest("The file is empty", code="empty_file", param="file"),
        InvalidRequest('expires_after[anchor] must be "created_at"', param="expires_after[anchor]"),
        TooLarge(
            f"The file exceeds the maximum of {settings.MAX_UPLOAD_BYTES} bytes for one upload",
            code="file_too_large",
            param="file",
        ),
        STORAGE_AWAY,
    ],
)

list_files = operation(
    name="files.list",
    tags=[FILES],
    summary="List files",
    parameters=[
        query("purpose", {"type": "string", "examples": list(Purpose.values)}, "Only files of this purpose."),
        query("order", {"enum": ["desc", "asc"], "default": "desc"}, "By the time of creation."),
        query("limit", {"type": "integer", "minimum": 1, "default": 10_000}, "More than 10,000 is 10,000."),
        query("after", {"type": "string"}, "The id of the file that the previous page ended with."),
    ],
    answers={200: (list_of("File"), "One page")},
    refuses={400: "A wrong limit or order", 404: "There is no file `after`"},
    errors=[
        BAD_LIMIT,
        InvalidRequest('order must be "asc" or "desc"', param="order"),
        NotFound("File file-1 not found", code="file_not_found", param="after"),
    ],
)

retrieve = operation(
    name="files.retrieve",
    tags=[FILES],
    summary="Retrieve a file",
    parameters=[FILE_ID],
    answers={200: (ref("File"), "The file")},
    refuses=NO_FILE,
    errors=[FILE_NOT_FOUND],
)

delete = operation(
    name="files.delete",
    tags=[FILES],
    summary="Delete a file",
    description="It is gone for everybody at once. A running batch that reads it is not disturbed.",
    parameters=[FILE_ID],
    answers={
        200: (
            an_object(id={"type": "string"}, object={"const": "file"}, deleted={"const": True}),
            "It is deleted",
        )
    },
    refuses=NO_FILE,
    errors=[FILE_NOT_FOUND, STORAGE_AWAY],
)

RANGE = OpenApiParameter(
    "Range",
    {"type": "string"},
    OpenApiParameter.HEADER,
    description="One range of bytes, to resume a download. Anything else gets the whole file.",
    examples=[OpenApiExample("none", value=""), OpenApiExample("the first 1,000 bytes", value="bytes=0-999")],
)
OUTSIDE = RangeNotSatisfiable("The file has 12345 bytes", headers={"Content-Range": "bytes */12345"})


def download_headers(*accept_ranges: str) -> list[OpenApiParameter]:
    """The headers of an answer with the bytes of a file."""
    return [
        header("Content-Disposition", {"type": "string", "pattern": "^attachment"}, "The file's name.", 200, 206),
        header("Content-Length", {"type": "integer"}, "Bytes of this answer.", 200, 206),
        header("Accept-Ranges", {"enum": list(accept_ranges)}, "Whether a download may be resumed.", 200, 206),
        header("Content-Range", {"type": "string", "pattern": "^bytes [0-9]+-[0-9]+/[0-9]+$"}, "What this is.", 206),
    ]


content = operation(
    name="files.content",
    tags=[FIRST_BATCH, FILES],
    summary="Download a file",
    description="The bytes of `output_file_id` or `error_file_id` of a batch, or of what was uploaded.",
    parameters=[
        FILE_ID,
        RANGE,
        *download_headers("bytes"),
    ],
    answers={
        (200, JSONL): ({"type": "string"}, "The whole file, one JSON object a line"),
        (206, JSONL): ({"type": "string"}, "The range that was asked for"),
    },
    refuses={**NO_FILE, 416: "The range begins behind the file's end"},
    errors=[
        FILE_NOT_FOUND,
        OUTSIDE,
        STORAGE_AWAY,
    ],
)

UPLOAD_ID = path("upload_id", "An upload's id, such as `upload_5d0ac7ea1de8a3f0b7c1e2a4`.")
NO_UPLOAD = {404: "There is no such upload: never was, or another project's"}
UPLOAD_ERRORS = [
    NotFound("Upload not found: upload_0", code="upload_not_found", param="upload_id"),
    InvalidRequest("Upload is completed", code="upload_not_pending", param="upload_id"),
]
HAS_ENDED = "the upload is completed, cancelled or expired"

BEGIN: Schema = {
    "type": "object",
    "required": ["bytes", "filename", "mime_type", "purpose"],
    "properties": {
        "bytes": {"type": "integer", "minimum": 1, "maximum": settings.MAX_BATCH_BYTES},
        "filename": {"type": "string", "pattern": "^[A-Za-z0-9_-]"},
        "mime_type": {"type": "string", "examples": [JSONL]},
        "purpose": {"const": "batch"},
        "expires_after": {
            **EXPIRY,
            "description": "when the file goes, from its completion on",
        },
    },
}

PART: Schema = {
    "type": "object",
    "required": ["data"],
    "properties": {"data": {"type": "string", "format": "binary", "minLength": 1}},
}

COMPLETE: Schema = {
    "type": "object",
    "required": ["part_ids"],
    "properties": {
        "part_ids": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string"},
            "description": "in the order of the file",
        },
        "md5": {"type": ["string", "null"], "description": "of the whole file, in hex digits"},
    },
}

begin_upload = operation(
    name="uploads.create",
    tags=[UPLOADS],
    summary="Begin an upload in parts",
    description=(
        f"For files of up to {settings.MAX_BATCH_BYTES:,} bytes. The upload takes parts for an hour, and becomes a "
        "file when it is completed."
    ),
    parameters=[IDEMPOTENCY_KEY],
    takes={JSON: BEGIN},
    answers={200: (ref("Upload"), "The upload, pending")},
    refuses={**ONCE, 400: "A bad member", **BODY_TOO_LARGE},
    errors=[
        BYTES_USED_UP,
        *ONCE_ERRORS,
        InvalidRequest('purpose must be "batch"', code="invalid_purpose", param="purpose"),
        InvalidRequest(f"bytes must be an integer from 1 to {settings.MAX_BATCH_BYTES}", param="bytes"),
        *BODY_ERRORS,
    ],
)

add_part = operation(
    name="uploads.parts.create",
    tags=[UPLOADS],
    summary="Add a part",
    description=(
        f"Up to {settings.MAX_PART_BYTES:,} bytes, several at once and in any order; {MOST_PARTS:,} parts at most. A "
        "part that was sent twice does no harm: `part_ids` says which ones count."
    ),
    parameters=[UPLOAD_ID],
    takes={"multipart/form-data": PART},
    answers={200: (ref("UploadPart"), "The part")},
    refuses={**NO_UPLOAD, 400: f"Not a multipart form, no part, an empty one, or {HAS_ENDED}", 413: "Too large"},
    errors=[
        *UPLOAD_ERRORS,
        *FORM_ERRORS,
        InvalidRequest("A file is required in the form field `data`", code="missing_file", param="data"),
        InvalidRequest("The file is empty", code="empty_file", param="data"),
        InvalidRequest(f"An upload takes at most {MOST_PARTS} parts", code="too_many_parts", param="data"),
        TooLarge(
            f"The part exceeds the maximum of {settings.MAX_PART_BYTES} bytes", code="part_too_large", param="data"
        ),
        STORAGE_AWAY,
    ],
)

complete_upload = operation(
    name="uploads.complete",
    tags=[UPLOADS],
    summary="Complete an upload",
    description="Joins the parts to a file. Their bytes must be as many as were announced.",
    parameters=[UPLOAD_ID],
    takes={JSON: COMPLETE},
    answers={200: (ref("Upload"), "The upload, completed, with its `file`")},
    refuses={
        **NO_UPLOAD,
        400: f"An unknown part, bytes or md5 that do not match, or {HAS_ENDED}",
        **BODY_TOO_LARGE,
    },
    errors=[
        *UPLOAD_ERRORS,
        InvalidRequest("part_ids must be a list of part ids", param="part_ids"),
        *BODY_ERRORS,
        InvalidRequest("Part not found: part_0", code="part_not_found", param="part_ids"),
        InvalidRequest(
            "The parts have 4 bytes, and the upload was announced with 5", code="bytes_mismatch", param="part_ids"
        ),
        InvalidRequest("The parts have the md5 …, not …", code="md5_mismatch", param="md5"),
        STORAGE_AWAY,
    ],
)

cancel_upload = operation(
    name="uploads.cancel",
    tags=[UPLOADS],
    summary="Cancel an upload",
    description="Its parts are removed.",
    parameters=[UPLOAD_ID],
    answers={200: (ref("Upload"), "The upload, cancelled")},
    refuses={**NO_UPLOAD, 400: HAS_ENDED[0].upper() + HAS_ENDED[1:]},
    errors=UPLOAD_ERRORS,
)
