"""Sends a stored file, whole or one range of it, block by block."""

from typing import Any

from django.db import connection
from django.http import HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from django.utils.http import content_disposition_header

from apps.api.errors import StorageError
from apps.files import storage
from apps.files.models import File
from apps.files.ranges import parse_range


def download(stored: File, range_header: str | None) -> HttpResponseBase:
    """The bytes as an attachment (wire.md §4), or where they are. Raises StorageError, RangeNotSatisfiable."""
    wanted = parse_range(range_header, stored.bytes)
    if url := storage.address(stored.object_key, _named(stored.filename)):
        # The client sends its Range there too.
        return HttpResponseRedirect(url, headers={"Cache-Control": "no-store"})
    start, end = wanted or (0, stored.bytes)
    headers = attachment(stored.filename, end - start) | {"Accept-Ranges": "bytes"}
    response = StreamingHttpResponse(_content(stored, start, end), headers=headers)
    if wanted:
        response.status_code = 206
        response["Content-Range"] = f"bytes {start}-{end - 1}/{stored.bytes}"
    let_go_of_postgres()
    return response


def _content(stored: File, start: int, end: int) -> Any:
    try:
        opened = storage.open_object(stored.object_key, start, end)
    except FileNotFoundError:
        raise StorageError from None
    return storage.blocks(opened, end - start)


def attachment(filename: str, length: int) -> dict[str, str]:
    """Headers of JSONL that is to be saved as a file."""
    return {**_named(filename), "Content-Length": str(length)}


def _named(filename: str) -> dict[str, str]:
    return {
        "Content-Type": "application/jsonl",
        "Content-Disposition": content_disposition_header(as_attachment=True, filename=filename) or "attachment",
    }


def let_go_of_postgres() -> None:
    """Gives this thread's connection back: a slow client may take hours for its bytes.

    Not within a transaction: nothing that streams has one, but the tests that roll back do.
    """
    if not connection.in_atomic_block:
        connection.close()
