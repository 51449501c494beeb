"""Object keys and what we do with stored bytes, all through `STORAGES`: a local folder or an S3 bucket (bucket.py)."""

import hashlib
import io
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from django.conf import settings
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import TemporaryUploadedFile, UploadedFile

from apps.api.errors import StorageError

if TYPE_CHECKING:
    from apps.files.bucket import Bucket

log = structlog.get_logger(__name__)

BLOCK_BYTES = 256 * 1024
UPLOADS = "files"
PARTS = "uploads"
BATCHES = "batches"
A_PAGE = 1_000
"""Names of a folder that are looked at together."""


class Source(NamedTuple):
    """The first `length` bytes of an object."""

    key: str
    length: int


class Listed(NamedTuple):
    """An object in a folder: its name there, and when it was written, if that was told along with it."""

    name: str
    modified_at: datetime | None


class Md5Differs(Exception):
    """Joined, the sources have another MD5."""

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found


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
    return f"{BATCHES}/{batch_id}"


def parts_folder(batch_id: str) -> str:
    return f"{batch_folder(batch_id)}/parts"


def _bucket() -> "Bucket | None":
    """Where the objects are, unless they are files. A folder does without boto3, which takes 20 MB of memory."""
    storage: Any = default_storage
    return storage if settings.STORAGE == "s3" else None


class Spool(TemporaryUploadedFile):
    """A temporary file on a local storage's own file system, which `store` then moves into place, or sends to S3.

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
        if bucket := _bucket():
            spool.size = written.tell()
            bucket.put_file(key, spool.temporary_file_path())
            return
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


def store_bytes(key: str, data: bytes) -> None:
    """Puts what is in memory anyway at `key`, durably. Raises StorageError."""
    if bucket := _bucket():
        with storage_errors("store", key):
            bucket.put(key, data)
        return
    with Spool() as spool:
        spool.write(data)
        store(key, spool)


def join(key: str, sources: Sequence[Source], *, md5: str | None = None) -> int:
    """Makes one object of these, in order, and returns its bytes; none is made where there are none.

    Raises before anything is stored FileNotFoundError if a source is not there, Md5Differs, and StorageError, also if a
    source is short. With S3, bytes whose MD5 nobody asks for are not even read, if the server can put them together.
    """
    total = sum(source.length for source in sources)
    if not total:
        return 0
    digest = None if md5 is None else hashlib.md5(usedforsecurity=False)
    if bucket := _bucket():
        if digest:
            for block in blocks_of(sources):
                digest.update(block)
        _check_md5(md5, digest)
        with storage_errors("join", key):
            bucket.join(key, sources)
        return total
    with Spool() as spool:
        for block in blocks_of(sources):
            if digest:
                digest.update(block)
            spool.write(block)
        _check_md5(md5, digest)
        store(key, spool)
    return total


def _check_md5(wanted: str | None, digest: Any) -> None:
    if wanted is not None and wanted.lower() != (found := digest.hexdigest()):
        raise Md5Differs(found)


def read_range(key: str, start: int, end: int) -> bytes:
    """The bytes [start, end) of an object. Raises FileNotFoundError, StorageError, also when they are not all there."""
    with storage_errors("read", key):
        if bucket := _bucket():
            data = bucket.read(key, start, end)
        else:
            with default_storage.open(key, "rb") as stored:
                stored.seek(start)
                data = stored.read(end - start)
    if len(data) != end - start:
        log.error("stored object is short", key=key, start=start, end=end, got=len(data))
        raise StorageError
    return data


def blocks(stored: io.BufferedReader, length: int) -> Iterator[bytes]:
    """`length` bytes of an open object from where it stands, block by block; closes it at the end."""
    with stored:
        while length > 0 and (block := stored.read(min(BLOCK_BYTES, length))):
            length -= len(block)
            yield block


def blocks_of(sources: Iterable[Source]) -> Iterator[bytes]:
    """The bytes of these, in order. Raises FileNotFoundError, StorageError, also if one is short."""
    for key, length in sources:
        got = 0
        for block in blocks(open_object(key, 0, length), length):
            got += len(block)
            yield block
        if got != length:
            log.error("stored object is short", key=key, start=0, end=length, got=got)
            raise StorageError


def open_object(key: str, start: int = 0, end: int | None = None) -> io.BufferedReader:
    """The object, open for reading from `start` on. Raises FileNotFoundError, or StorageError on any other failure.

    Nobody reads beyond `end`: it spares S3 the sending. Reading raises OSError. The buffer is a block long: reading
    lines through Python's default of 8 KB costs twice as much.
    """
    with storage_errors("open", key):
        if bucket := _bucket():
            return io.BufferedReader(bucket.stream(key, start, end), BLOCK_BYTES)
        stored: Any = default_storage.open(key, "rb")
        opened = io.BufferedReader(stored, BLOCK_BYTES)
        if start:
            opened.seek(start)
        return opened


def names_in(folder: str) -> list[str]:
    """Names of the objects in a folder; none if there is no such folder. Raises StorageError."""
    return sorted(listed.name for page in pages(folder) for listed in page)


def pages(folder: str) -> Iterator[list[Listed]]:
    """The objects in a folder, A_PAGE at a time; none if there is no such folder. Raises StorageError."""
    with storage_errors("list", folder):
        if bucket := _bucket():
            yield from bucket.pages(folder)
            return
        _folders, names = _listdir(folder)
    for page in _by_the_page(names):
        yield [Listed(name, None) for name in page]


def folders_in(folder: str) -> Iterator[list[str]]:
    """Names of the folders in a folder, A_PAGE at a time; none if there is no such folder. Raises StorageError."""
    with storage_errors("list", folder):
        if bucket := _bucket():
            yield from bucket.folders(folder)
            return
        names, _objects = _listdir(folder)
    yield from _by_the_page(names)


def _listdir(folder: str) -> tuple[list[str], list[str]]:
    try:
        return default_storage.listdir(folder)
    except FileNotFoundError:
        return [], []


def _by_the_page(names: list[str]) -> Iterator[list[str]]:
    names.sort()
    for start in range(0, len(names), A_PAGE):
        yield names[start : start + A_PAGE]


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
        if bucket := _bucket():
            bucket.remove([key])
            return
        default_storage.delete(key)


def discard(key: str) -> None:
    """Removes what was stored for nothing; what cannot be is an object without a row, which the purge removes."""
    try:
        remove(key)
    except StorageError:
        log.warning("object not removed", key=key, exc_info=True)


def remove_all(keys: Sequence[str]) -> None:
    """Removes these objects; what cannot be removed does not stop the others. Raises StorageError at the end then."""
    if bucket := _bucket():
        with storage_errors("remove", f"{keys[0]} …" if keys else ""):
            bucket.remove(keys)
        return
    failed = None
    for key in keys:
        try:
            remove(key)
        except StorageError as error:
            failed = error
    if failed:
        raise failed


def clear(folder: str) -> int:
    """Removes every object in a folder; how many there were. Raises StorageError."""
    keys = [f"{folder}/{name}" for name in names_in(folder)]
    remove_all(keys)
    return len(keys)


def remove_folder(folder: str) -> int:
    """As `clear`, and the folder itself, which must have no other in it; to S3 there is no such thing."""
    removed = clear(folder)
    remove_empty(folder)
    return removed


def remove_empty(folder: str) -> None:
    """Removes a folder in which nothing is left. Raises StorageError, also if something is."""
    if _bucket() is None:
        remove(folder)


def drop_unfinished(begun_before: datetime) -> int:
    """Drops objects that a dead process was sending to S3 in several parts, and tells how many. Raises StorageError."""
    if bucket := _bucket():
        with storage_errors("drop", "unfinished objects"):
            return sum(bucket.abort_begun_before(begun_before, folder) for folder in (UPLOADS, PARTS, BATCHES))
    return 0


def address(key: str, headers: dict[str, str]) -> str | None:
    """A URL at which S3 itself gives out the object for ADDRESS_SECONDS, if the settings want that (bucket.py)."""
    bucket = _bucket()
    return bucket.address(key, headers) if bucket and settings.S3_REDIRECT_DOWNLOADS else None


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
