"""Sends a stored file, whole or one range of it, block by block."""

from typing import Any

from django.http import HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from django.utils.http import content_disposition_header

from apps.api.errors import StorageError
from apps.files import storage
from apps.files.models import File
from apps.files.ranges import parse_range


def download(stored: File, range_header: str | None) -> HttpResponseBase:
    """The bytes as an attachment (wire.md §4), or where they are. Raises StorageError, RangeNotSatisfiable."""
    wanted = parse_range(range_header, stored.bytes)
    if url := storage.address(stored.object_key, _named(stored)):
        # The client sends its Range there too.
        return HttpResponseRedirect(url, headers={"Cache-Control": "no-store"})
    start, end = wanted or (0, stored.bytes)
    response = StreamingHttpResponse(_content(stored, start, end), headers=_headers(stored, end - start))
    if wanted:
        response.status_code = 206
        response["Content-Range"] = f"bytes {start}-{end - 1}/{stored.bytes}"
    return response


def _content(stored: File, start: int, end: int) -> Any:
    try:
        opened = storage.open_object(stored.object_key, start, end)
    except FileNotFoundError:
        raise StorageError from None
    return storage.blocks(opened, end - start)


def _headers(stored: File, length: int) -> dict[str, str]:
    return {**_named(stored), "Content-Length": str(length), "Accept-Ranges": "bytes"}


def _named(stored: File) -> dict[str, str]:
    return {
        "Content-Type": "application/jsonl",
        "Content-Disposition": content_disposition_header(as_attachment=True, filename=stored.filename) or "attachment",
    }
