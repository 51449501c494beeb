"""Files and uploads as the wire shows them (wire.md §4, §5), and what creates them as it arrives."""

import re
from typing import Any, NamedTuple

from django.conf import settings
from django.core.files.uploadedfile import TemporaryUploadedFile
from rest_framework.request import Request

from apps.api.errors import InvalidRequest
from apps.files.models import File, Purpose, Upload, UploadPart
from apps.files.uploads import parse_expiry, whole

PATH_SEPARATOR = re.compile(r"[/\\]")


def file_json(stored: File) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": stored.id,
        "object": "file",
        "bytes": stored.bytes,
        "created_at": int(stored.created_at.timestamp()),
        "filename": stored.filename,
        "purpose": stored.purpose,
        "status": "processed",
        "expires_at": int(stored.expires_at.timestamp()) if stored.expires_at else None,
    }
    return body | {"is_error": True} if stored.is_error else body


def parse_upload(request: Request) -> tuple[TemporaryUploadedFile, int | None]:
    """The received file and its `expires_after` seconds. Raises InvalidRequest with the codes of wire.md §2."""
    form: Any = request.data
    _check_purpose(form.get("purpose"))
    expires_after = parse_expiry(form.get("expires_after[anchor]"), form.get("expires_after[seconds]"), "expires_after")
    return _received(request, "file"), expires_after


def _received(request: Request, field: str) -> TemporaryUploadedFile:
    spool = request.FILES.get(field)
    if not isinstance(spool, TemporaryUploadedFile):
        raise InvalidRequest(f"A file is required in the form field `{field}`", code="missing_file", param=field)
    if not spool.size:
        raise InvalidRequest("The file is empty", code="empty_file", param=field)
    return spool


def _check_purpose(purpose: Any) -> None:
    if purpose != Purpose.BATCH:
        raise InvalidRequest('purpose must be "batch"', code="invalid_purpose", param="purpose")


def upload_json(upload: Upload) -> dict[str, Any]:
    return {
        "id": upload.id,
        "object": "upload",
        "bytes": upload.bytes,
        "created_at": int(upload.created_at.timestamp()),
        "filename": upload.filename,
        "purpose": Purpose.BATCH.value,
        "status": upload.status_now,
        "expires_at": int(upload.expires_at.timestamp()),
        "file": file_json(upload.file) if upload.file else None,
    }


def part_json(part: UploadPart) -> dict[str, Any]:
    return {
        "id": part.id,
        "object": "upload.part",
        "created_at": int(part.created_at.timestamp()),
        "upload_id": part.upload_id,
    }


class UploadRequest(NamedTuple):
    """The checked fields of POST /v1/uploads."""

    filename: str
    bytes: int
    expires_after: int | None


def parse_begin(data: dict[str, Any]) -> UploadRequest:
    """Raises InvalidRequest, also for more bytes than a batch's input may have."""
    _check_purpose(data.get("purpose"))
    size = whole(data.get("bytes"))
    if size is None or not 1 <= size <= settings.MAX_BATCH_BYTES:
        raise InvalidRequest(f"bytes must be an integer from 1 to {settings.MAX_BATCH_BYTES}", param="bytes")
    if not isinstance(data.get("mime_type"), str):
        raise InvalidRequest("mime_type is required", param="mime_type")
    return UploadRequest(_filename(data.get("filename")), size, expiry_of(data.get("expires_after"), "expires_after"))


def _filename(value: Any) -> str:
    """Its last component, without what cannot be shown; as Django treats the names of a form's files."""
    name = PATH_SEPARATOR.split(value)[-1] if isinstance(value, str) else ""
    name = "".join(character for character in name if character.isprintable()).strip()
    if name in {"", ".", ".."}:
        raise InvalidRequest("filename is required", param="filename")
    return name


def expiry_of(value: Any, field: str) -> int | None:
    """Seconds of an `expires_after` that JSON has as an object, or None. Raises InvalidRequest."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InvalidRequest(f"{field} must be an object", param=field)
    # An object says something: one without an anchor is wrong, unlike a form without either field.
    return parse_expiry(value.get("anchor") or "", value.get("seconds"), field)


def parse_part(request: Request) -> TemporaryUploadedFile:
    """The received part. Raises InvalidRequest `missing_file` or `empty_file`."""
    return _received(request, "data")


def parse_complete(data: dict[str, Any]) -> tuple[list[str], str | None]:
    """Ordered part ids, and the md5 if it was sent. Raises InvalidRequest."""
    part_ids, md5 = data.get("part_ids"), data.get("md5")
    if not isinstance(part_ids, list) or not part_ids or not all(isinstance(each, str) for each in part_ids):
        raise InvalidRequest("part_ids must be a list of part ids", param="part_ids")
    if md5 is not None and not isinstance(md5, str):
        raise InvalidRequest("md5 must be a string of hex digits", param="md5")
    return part_ids, md5
