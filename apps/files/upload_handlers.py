"""Receives an upload to disk, refusing what is too large while it streams."""

from typing import Any

from django.conf import settings
from django.core.files.uploadhandler import FileUploadHandler, SkipFile, StopUpload

from apps.api.errors import TooLarge
from apps.files.storage import Spool

MULTIPART_OVERHEAD = 65_536
DRAIN_BYTES = 4 * 104_857_600


class SpoolUploadHandler(FileUploadHandler):
    """Writes the field `file` to a Spool. Other files are skipped: unknown fields are no error (wire.md).

    A body over the limit is read to its end without being kept, so that the client, which sends first and reads then,
    gets its 413 instead of a broken connection; beyond DRAIN_BYTES the connection is cut.
    """

    chunk_size = 256 * 1024

    def __init__(self, request: Any = None) -> None:
        super().__init__(request)
        self.spool: Spool | None = None
        self.received = 0

    def new_file(self, field_name: str, *args: Any, **kwargs: Any) -> None:
        super().new_file(field_name, *args, **kwargs)
        if field_name != "file":
            raise SkipFile
        self._discard()
        self.received = 0
        self.spool = Spool(self.file_name or "file")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self.received += len(raw_data)
        if self.received > DRAIN_BYTES:
            raise StopUpload(connection_reset=True)
        if self.received > settings.MAX_UPLOAD_BYTES:
            self._discard()
        elif self.spool is not None:
            self.spool.write(raw_data)

    def file_complete(self, file_size: int) -> Spool | None:
        if self.received > settings.MAX_UPLOAD_BYTES:
            raise TooLarge(
                f"The file exceeds the maximum of {settings.MAX_UPLOAD_BYTES} bytes for one upload",
                code="file_too_large",
                param="file",
            )
        spool, self.spool = self.spool, None
        if spool is not None:
            spool.size = file_size
        return spool

    def upload_interrupted(self) -> None:
        self._discard()

    def _discard(self) -> None:
        if self.spool is not None:
            self.spool.close()
            self.spool = None
