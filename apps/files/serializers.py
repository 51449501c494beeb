"""The File as the wire shows it (wire.md §4), and the upload form as it arrives."""

from typing import Any

from django.core.files.uploadedfile import TemporaryUploadedFile
from rest_framework.request import Request

from apps.api.errors import InvalidRequest
from apps.files.models import File, Purpose
from apps.files.uploads import parse_expiry


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
    if form.get("purpose") != Purpose.BATCH:
        raise InvalidRequest('purpose must be "batch"', code="invalid_purpose", param="purpose")
    expires_after = parse_expiry(form.get("expires_after[anchor]"), form.get("expires_after[seconds]"), "expires_after")
    spool = request.FILES.get("file")
    if not isinstance(spool, TemporaryUploadedFile):
        raise InvalidRequest("A file is required in the form field `file`", code="missing_file", param="file")
    if not spool.size:
        raise InvalidRequest("The file is empty", code="empty_file", param="file")
    return spool, expires_after
