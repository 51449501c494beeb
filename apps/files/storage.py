"""Object keys and what we do with stored bytes, all through `STORAGES`: a local folder or S3."""

import hashlib
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import TemporaryUploadedFile, UploadedFile

from apps.api.errors import StorageError

log = structlog.get_logger(__name__)

BLOCK_BYTES = 256 * 1024
UPLOADS = "files"
PARTS = "uploads"


def upload_key(file_id: str) -> str:
    return f"{UPLOADS}/{file_id}.jsonl"


def upload_part_key(part_id: str) -> str:
    """Where a part of an upload lies until the upload ends."""
    return f"{PARTS}/{part_id}.part"


def result_key(batch_id: str, kind: str) -> str:
    """Where a batch's `output` or `error` file lies; deterministic, so that assembling twice writes one object."""
    return f"{batch_folder(batch_id)}/{kind}.jsonl"


def part_key(batch_id: str, index: int, epoch: int, kind: str) -> str:
    """Where one claim of a chunk writes its lines; the epoch keeps two owners of one chunk apart."""
    return f"{parts_folder(batch_id)}/{index}.{epoch}.{kind}.jsonl"


def batch_folder(batch_id: str) -> str:
    return f"batches/{batch_id}"


def parts_folder(batch_id: str) -> str:
    return f"{batch_folder(batch_id)}/parts"


class Spool(TemporaryUploadedFile):
    """A temporary file on the storage's own file system, which `store` then moves into place.

    Nothing half-written is ever visible under a key: the local storage renames it, S3 shows an object when it is whole.
    """

    def __init__(self, name: str = "spool") -> None:
        folder: Path = settings.SPOOL_DIR
        with storage_errors("spool", name):
            folder.mkdir(parents=True, exist_ok=True)
            spooled = tempfile.NamedTemporaryFile(dir=folder, suffix=".spool")  # noqa: SIM115  closed with the Spool
        # Not TemporaryUploadedFile's own constructor: it writes where Django's one setting says, for all uploads.
        UploadedFile.__init__(self, spooled, name, "application/jsonl", 0)

    def write(self, data: Any, /) -> int:
        """As a file's; raises StorageError, as when the disk is full."""
        spooled: Any = self.file
        with storage_errors("spool", self.name or ""):
            return int(spooled.write(data))

    def close(self) -> None:
        """Closes and removes it; on a full disk, what was written and not yet flushed fails once more."""
        with suppress(OSError):
            super().close()

    def written(self) -> int:
        """Bytes in the file so far."""
        spooled: Any = self.file
        return int(spooled.tell())


def store(key: str, spool: TemporaryUploadedFile) -> None:
    """Puts the spooled bytes at `key`, durably. Raises StorageError."""
    with storage_errors("store", key):
        written: Any = spool.file
        written.flush()
        os.fsync(written.fileno())  # once an object, never once a line
        spool.size = written.tell()
        written.seek(0)
        default_storage.save(key, spool)


def digest(spool: TemporaryUploadedFile) -> str:
    """SHA-256 of the spooled bytes, in hex; they are read back from the page cache. Raises StorageError."""
    spooled: Any = spool.file
    with storage_errors("digest", spool.name or ""):
        spooled.seek(0)
        return hashlib.file_digest(spooled, "sha256").hexdigest()


def read_range(key: str, start: int, end: int) -> bytes:
    """The bytes [start, end) of an object. Raises StorageError, also when they are not all there."""
    with storage_errors("read", key), default_storage.open(key, "rb") as stored:
        stored.seek(start)
        data: bytes = stored.read(end - start)
    if len(data) != end - start:
        log.error("stored object is short", key=key, start=start, end=end, got=len(data))
        raise StorageError
    return data


def blocks(stored: io.BufferedReader, length: int) -> Iterator[bytes]:
    """`length` bytes of an open object from where it stands, block by block; closes it at the end."""
    with stored:
        yield from next_blocks(stored, length)


def next_blocks(stored: io.BufferedReader, length: int) -> Iterator[bytes]:
    """The same of an object that stays open; fewer bytes if it ends before."""
    while length > 0 and (block := stored.read(min(BLOCK_BYTES, length))):
        length -= len(block)
        yield block


def open_object(key: str) -> io.BufferedReader:
    """The object, open for reading. Raises FileNotFoundError if there is none, StorageError on any other failure.

    Its buffer is a block long: reading lines through Python's default of 8 KB costs twice as much.
    """
    with storage_errors("open", key):
        stored: Any = default_storage.open(key, "rb")
        return io.BufferedReader(stored, BLOCK_BYTES)


def names_in(folder: str) -> list[str]:
    """Names of the objects in a folder; none if there is no such folder. Raises StorageError."""
    try:
        with storage_errors("list", folder):
            return sorted(default_storage.listdir(folder)[1])
    except FileNotFoundError:
        return []


def modified_at(key: str) -> datetime:
    """When the object was written. Raises FileNotFoundError or StorageError."""
    with storage_errors("look at", key):
        return default_storage.get_modified_time(key)


def exists(key: str) -> bool:
    """Whether there is such an object. Raises StorageError."""
    with storage_errors("look for", key):
        return default_storage.exists(key)


def remove(key: str) -> None:
    """Removes an object; one that is not there is no error. Raises StorageError."""
    with storage_errors("remove", key):
        default_storage.delete(key)


def discard(key: str) -> None:
    """Removes what was stored for nothing; what cannot be is an object without a row, which the purge removes."""
    try:
        remove(key)
    except StorageError:
        log.warning("object not removed", key=key, exc_info=True)


def clear(folder: str) -> int:
    """Removes every object in a folder; how many there were. Raises StorageError."""
    names = names_in(folder)
    for name in names:
        remove(f"{folder}/{name}")
    return len(names)


def remove_folder(folder: str) -> int:
    """As `clear`, and the folder itself, which must have no other in it; to S3 there is no such thing."""
    removed = clear(folder)
    remove(folder)
    return removed


@contextmanager
def storage_errors(action: str, key: str) -> Iterator[None]:
    """Whatever the storage raises becomes StorageError, but FileNotFoundError, which tells something of its own."""
    try:
        yield
    except (FileNotFoundError, StorageError):
        raise
    except Exception as error:
        log.exception("storage failed", action=action, key=key)
        raise StorageError from error
