"""What the reference says of /v1/files (wire.md §4)."""

from django.conf import settings
from drf_spectacular.utils import OpenApiExample, OpenApiParameter

from apps.api.errors import InvalidRequest, NotFound, RangeNotSatisfiable, TooLarge
from apps.api.openapi import (
    MAYBE_TIMESTAMP,
    STORAGE_AWAY,
    TIMESTAMP,
    Schema,
    header,
    list_of,
    operation,
    path,
    query,
    ref,
)
from apps.files.models import Purpose
from apps.files.uploads import LEAST_EXPIRY_SECONDS, MOST_EXPIRY_SECONDS

FILES = "Files"
FIRST_BATCH = "Your first batch"
JSONL = "application/jsonl"

ANCHOR: Schema = {"const": "created_at"}
SECONDS: Schema = {"type": "integer", "minimum": LEAST_EXPIRY_SECONDS, "maximum": MOST_EXPIRY_SECONDS}
FILE_ID = path("file_id", "A file's id, such as `file-ea00d6103f9a9f25d49cec82`.")
NO_FILE = {404: "There is no such file: never was, deleted, expired, or another project's"}
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
    takes={"multipart/form-data": UPLOAD},
    answers={200: (ref("File"), "The file")},
    refuses={400: "Not a multipart form, no file, an empty one, or another purpose", 413: "Too large"},
    errors=[
        InvalidRequest("Content-Type must be multipart/form-data", code="invalid_content_type"),
        InvalidRequest("The multipart body could not be parsed: malformed", code="invalid_multipart"),
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
        InvalidRequest("limit must be a positive integer", code="invalid_limit", param="limit"),
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
            {
                "type": "object",
                "required": ["id", "object", "deleted"],
                "properties": {"id": {"type": "string"}, "object": {"const": "file"}, "deleted": {"const": True}},
            },
            "It is deleted",
        )
    },
    refuses=NO_FILE,
    errors=[FILE_NOT_FOUND, STORAGE_AWAY],
)

content = operation(
    name="files.content",
    tags=[FIRST_BATCH, FILES],
    summary="Download a file",
    description="The bytes of `output_file_id` or `error_file_id` of a batch, or of what was uploaded.",
    parameters=[
        FILE_ID,
        OpenApiParameter(
            "Range",
            {"type": "string"},
            OpenApiParameter.HEADER,
            description="One range of bytes, to resume a download. Anything else gets the whole file.",
            examples=[OpenApiExample("none", value=""), OpenApiExample("the first 1,000 bytes", value="bytes=0-999")],
        ),
        header("Content-Disposition", {"type": "string", "pattern": "^attachment"}, "The file's name.", 200, 206),
        header("Content-Length", {"type": "integer"}, "Bytes of this answer.", 200, 206),
        header("Accept-Ranges", {"const": "bytes"}, "A download may be resumed.", 200, 206),
        header("Content-Range", {"type": "string", "pattern": "^bytes [0-9]+-[0-9]+/[0-9]+$"}, "What this is.", 206),
    ],
    answers={
        (200, JSONL): ({"type": "string"}, "The whole file, one JSON object a line"),
        (206, JSONL): ({"type": "string"}, "The range that was asked for"),
    },
    refuses={**NO_FILE, 416: "The range begins behind the file's end"},
    errors=[
        FILE_NOT_FOUND,
        RangeNotSatisfiable("The file has 12345 bytes", headers={"Content-Range": "bytes */12345"}),
        STORAGE_AWAY,
    ],
)
