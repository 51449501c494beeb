"""Sends an input to the server: in one piece, or in parts when it is over what one upload may be (wire.md §4, §5)."""

import hashlib
import io
import itertools
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from requests_toolbelt.multipart.encoder import MultipartEncoder, MultipartEncoderMonitor

from apps.cli import transfer
from apps.cli.api import Api, Away, Refused
from apps.cli.exits import CliError, FileTrouble
from apps.cli.terminal import Terminal, size

ONE_UPLOAD_BYTES = 104_857_600
PART_BYTES = 16 * 1024 * 1024
PART_TRIES = 3
TYPE = "application/jsonl"
Report = Callable[[int], None]


def upload(api: Api, path: Path, terminal: Terminal) -> str:
    """The new file's id. Memory does not grow with the file. Raises FileTrouble, and what Api raises."""
    try:
        total = path.stat().st_size
        with path.open("rb") as stream, transfer.bar(terminal, f"Uploading {path.name}", total) as report:
            send = _in_parts if total > ONE_UPLOAD_BYTES else _whole
            return str(send(api, stream, path.name, total, report)["id"])
    except OSError as error:
        raise FileTrouble.of(error, f"read {path}") from None


def _whole(api: Api, stream: BinaryIO, name: str, _: int, report: Report) -> dict[str, Any]:
    def body() -> MultipartEncoderMonitor:
        stream.seek(0)
        fields = MultipartEncoder({"purpose": "batch", "file": (name, stream, TYPE)})
        return MultipartEncoderMonitor(fields, lambda monitor: report(monitor.bytes_read))

    return api.post("/files", body)


def _in_parts(api: Api, stream: BinaryIO, name: str, total: int, report: Report) -> dict[str, Any]:
    upload_id = _begin(api, name, total)
    try:
        parts, digest = [], hashlib.md5(usedforsecurity=False)
        while part := stream.read(PART_BYTES):
            digest.update(part)
            parts.append(_send_part(api, upload_id, part))
            report(stream.tell())
        return dict(api.post(f"/uploads/{upload_id}/complete", part_ids=parts, md5=digest.hexdigest())["file"])
    except BaseException:
        with suppress(CliError):
            api.post(f"/uploads/{upload_id}/cancel")
        raise


def _begin(api: Api, name: str, total: int) -> str:
    try:
        return str(api.post("/uploads", bytes=total, filename=name, mime_type=TYPE, purpose="batch")["id"])
    except Refused as refused:
        if refused.status not in {404, 405}:
            raise
    raise CliError(
        f"{name} has {size(total)}, and this server takes no more than {size(ONE_UPLOAD_BYTES)} in one upload and "
        "nothing in parts: split it into several inputs"
    )


def _send_part(api: Api, upload_id: str, part: bytes) -> str:
    """The part's id. A broken connection costs this part only, and it is sent again."""
    for tried in itertools.count(1):
        try:
            return str(api.post(f"/uploads/{upload_id}/parts", lambda: _part(part))["id"])
        except Away:
            if tried == PART_TRIES:
                raise
    raise AssertionError("never without an answer")


def _part(data: bytes) -> MultipartEncoder:
    return MultipartEncoder({"data": ("part", io.BytesIO(data), "application/octet-stream")})
