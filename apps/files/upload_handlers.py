"""Receives an upload to disk, refusing what is too large while it streams."""

from typing import Any

from django.conf import settings
from django.core.files.uploadhandler import FileUploadHandler, SkipFile

from apps.api.errors import StorageError, TooLarge
from apps.files.storage import Spool


class SpoolUploadHandler(FileUploadHandler):
    """Writes the field `file` to a Spool. Other files are skipped: unknown fields are no error (wire.md)."""

    chunk_size = 256 * 1024
    field = "file"
    code = "file_too_large"

    @property
    def most_bytes(self) -> int:
        return settings.MAX_UPLOAD_BYTES

    def __init__(self, request: Any = None) -> None:
        super().__init__(request)
        self.spool: Spool | None = None

    def new_file(self, field_name: str, *args: Any, **kwargs: Any) -> None:
        super().new_file(field_name, *args, **kwargs)
        if field_name != self.field:
            raise SkipFile
        self.spool = Spool(self.file_name or "file")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Raises TooLarge at the first byte over the limit; what was written is removed with the spool."""
        if start + len(raw_data) > self.most_bytes:
            self.upload_interrupted()
            raise TooLarge(self.too_large(), code=self.code, param=self.field)
        if self.spool is not None:
            try:
                self.spool.write(raw_data)
            except StorageError:
                self.upload_interrupted()
                raise

    def too_large(self) -> str:
        return f"The file exceeds the maximum of {self.most_bytes} bytes for one upload"

    def file_complete(self, file_size: int) -> Spool | None:
        spool, self.spool = self.spool, None
        if spool is not None:
            spool.size = file_size
        return spool

    def upload_interrupted(self) -> None:
        if self.spool is not None:
            self.spool.close()
            self.spool = None


class PartUploadHandler(SpoolUploadHandler):
    """The same for the field `data` of an upload in parts."""

    field = "data"
    code = "part_too_large"

    @property
    def most_bytes(self) -> int:
        return settings.MAX_PART_BYTES

    def too_large(self) -> str:
        return f"The part exceeds the maximum of {self.most_bytes} bytes"
