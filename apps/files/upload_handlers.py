"""Receives an upload to disk, refusing what is too large while it streams."""

from typing import Any

from django.conf import settings
from django.core.files.uploadhandler import FileUploadHandler, SkipFile

from apps.api.errors import StorageError, TooLarge
from apps.files.storage import Spool


class SpoolUploadHandler(FileUploadHandler):
    """Writes the field `file` to a Spool. Other files are skipped: unknown fields are no error (wire.md)."""

    chunk_size = 256 * 1024

    def __init__(self, request: Any = None) -> None:
        super().__init__(request)
        self.spool: Spool | None = None

    def new_file(self, field_name: str, *args: Any, **kwargs: Any) -> None:
        super().new_file(field_name, *args, **kwargs)
        if field_name != "file":
            raise SkipFile
        self.spool = Spool(self.file_name or "file")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Raises TooLarge at the first byte over the limit; what was written is removed with the spool."""
        if start + len(raw_data) > settings.MAX_UPLOAD_BYTES:
            self.upload_interrupted()
            message = f"The file exceeds the maximum of {settings.MAX_UPLOAD_BYTES} bytes for one upload"
            raise TooLarge(message, code="file_too_large", param="file")
        if self.spool is not None:
            try:
                self.spool.write(raw_data)
            except StorageError:
                self.upload_interrupted()
                raise

    def file_complete(self, file_size: int) -> Spool | None:
        spool, self.spool = self.spool, None
        if spool is not None:
            spool.size = file_size
        return spool

    def upload_interrupted(self) -> None:
        if self.spool is not None:
            self.spool.close()
            self.spool = None
