"""An S3 bucket behind Django's storage: django-storages' backend, and what it has no words for."""

import io
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from typing import Any

from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from storages.backends.s3 import S3Storage
from urllib3.exceptions import HTTPError

from apps.files.storage import BLOCK_BYTES, Listed, Source

LEAST_PART_BYTES = 5 * 1024 * 1024
"""S3's own limit: of an object's parts only the last one may be smaller."""
PART_BYTES = 16 * 1024 * 1024
MOST_IN_A_REQUEST = 1_000
"""Objects that one request lists or removes, as S3 limits it."""
TRIES = 4
"""Requests for a stream that broke, one after the other without a byte between."""
PAUSE_SECONDS = 0.2
CONNECTIONS = 64
"""Above the threads of any process."""
ADDRESS_SECONDS = 300
"""For a transfer to begin; one that has begun may take longer."""
BROKEN = (BotoCoreError, HTTPError)
"""What a connection that breaks raises; botocore leaves some of urllib3's as they are."""
NO_SUCH_OBJECT = {"NoSuchKey", "404"}

_connecting = threading.Lock()
_connections: dict[tuple[str | None, ...], Any] = {}


class Bucket(S3Storage):  # type: ignore[misc]  # which has no types
    """Keys are below `location`. Raises FileNotFoundError for an object that is not there, else what boto3 raises."""

    def __init__(self, *, addressing_style: str, **options: Any) -> None:
        super().__init__(client_config=_config(addressing_style), transfer_config=_in_one_thread(), **options)
        self._server = self.endpoint_url, self.region_name, self.access_key, addressing_style

    @property
    def connection(self) -> Any:
        """One for all threads; inherited, each would have its own, with megabytes of what S3 can do.

        Nor one for each instance: threads that ask Django for the storage all at once get one each. boto3 allows
        sharing for clients. We use the client only; of the inherited methods, which begin with the resource behind it,
        the product calls `listdir`, which does so too.
        """
        with _connecting:
            if self._server not in _connections:
                _connections[self._server] = super().connection
            return _connections[self._server]

    @property
    def client(self) -> Any:
        return self.connection.meta.client

    def full(self, key: str) -> dict[str, str]:
        """What names an object in a request."""
        return {"Bucket": self.bucket_name, "Key": self._normalize_name(key)}

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(**self.full(key), Body=data, **self.get_object_parameters(key))

    def put_file(self, key: str, path: str) -> None:
        """Large files in several parts, each streamed from the disk."""
        named = self.full(key)
        extra = self.get_object_parameters(key)
        self.client.upload_file(path, named["Bucket"], named["Key"], ExtraArgs=extra, Config=self.transfer_config)

    def read(self, key: str, start: int, end: int) -> bytes:
        """The bytes [start, end), or those of them that there are."""
        if end <= start:
            return b""
        with Stream(self, key, start, end) as stream:
            return stream.readall()

    def stream(self, key: str, start: int, end: int | None) -> "Stream":
        return Stream(self, key, start, end)

    def join(self, key: str, sources: Sequence[Source]) -> None:
        """Makes one object of others. What is large enough never leaves the server."""
        total = sum(source.length for source in sources)
        if total <= LEAST_PART_BYTES:
            self.put(key, b"".join(_whole(self.read(name, 0, length), length) for name, length in sources))
            return
        with _assembly(self, key) as assembly:
            for source in sources:
                assembly.add(source)
        # Not every server is as strict as S3 about the range of a copy.
        if (found := self.client.head_object(**self.full(key))["ContentLength"]) != total:
            raise OSError(f"{key} was joined to {found} bytes instead of {total}")

    def pages(self, folder: str) -> Iterator[list[Listed]]:
        """The objects right in a folder, up to MOST_IN_A_REQUEST at a time."""
        for prefix, page in self._listed(folder):
            # Some tools and servers mark a folder by an object whose name is the folder's.
            rows = (row for row in page.get("Contents", ()) if row["Key"] != prefix)
            yield [Listed(row["Key"].removeprefix(prefix), row["LastModified"]) for row in rows]

    def folders(self, folder: str) -> Iterator[list[str]]:
        """The names of the folders right in a folder, up to MOST_IN_A_REQUEST at a time."""
        for prefix, page in self._listed(folder):
            yield [row["Prefix"].removeprefix(prefix).rstrip("/") for row in page.get("CommonPrefixes", ())]

    def _listed(self, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """What all keys there begin with, and an answer with some of them."""
        prefix = f"{self._normalize_name(folder)}/"
        for page in self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket_name,
            Prefix=prefix,
            Delimiter="/",
            PaginationConfig={"PageSize": MOST_IN_A_REQUEST},
        ):
            yield prefix, page

    def remove(self, keys: Sequence[str]) -> None:
        """Removes objects by the thousand; those that are not there are no error. Raises OSError if some stay."""
        if len(keys) == 1:
            self.client.delete_object(**self.full(keys[0]))
            return
        names = [{"Key": self._normalize_name(key)} for key in keys]
        refused: list[dict[str, Any]] = []
        for at in range(0, len(names), MOST_IN_A_REQUEST):
            wanted = {"Objects": names[at : at + MOST_IN_A_REQUEST], "Quiet": True}
            refused += self.client.delete_objects(Bucket=self.bucket_name, Delete=wanted).get("Errors", ())
        if refused:
            raise OSError(f"{len(refused)} of {len(keys)} objects were not removed, the first of them: {refused[0]}")

    def abort_begun_before(self, moment: datetime, folder: str) -> int:
        """Drops what dead processes have left of objects in several parts; nobody sees it, and it is paid for."""
        begun = self.client.get_paginator("list_multipart_uploads")
        pages = begun.paginate(Bucket=self.bucket_name, Prefix=f"{self._normalize_name(folder)}/")
        old = [row for page in pages for row in page.get("Uploads", ()) if row["Initiated"] < moment]
        for row in old:
            self.client.abort_multipart_upload(Bucket=self.bucket_name, Key=row["Key"], UploadId=row["UploadId"])
        return len(old)

    def address(self, key: str, headers: dict[str, str]) -> str:
        """A URL that gives whoever has it the object, for ADDRESS_SECONDS from now on, with these headers."""
        wanted = {f"Response{name.replace('-', '')}": value for name, value in headers.items()}
        url: str = self.client.generate_presigned_url(
            "get_object", Params=self.full(key) | wanted, ExpiresIn=ADDRESS_SECONDS
        )
        return url


class Stream(io.RawIOBase):
    """The bytes [start, end) of an object, or all from `start` on, as they come.

    When the connection breaks, it asks for the rest, of the same object only. Raises OSError when that does not help:
    a reader who may have got half a line must never take the end of the stream for the end of the object.
    """

    def __init__(self, bucket: Bucket, key: str, start: int = 0, end: int | None = None) -> None:
        self._bucket, self._key = bucket, key
        self._position = start
        self._end = end
        self._only_if: dict[str, str] = {}
        self._body: Any = None
        self._ask()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if self._position == self._end:
            return 0
        for attempt in range(TRIES):
            try:
                if self._body is None:
                    self._ask()
                got = int(self._body.readinto(buffer))
                self._position += got
                return got
            except (*BROKEN, ClientError, FileNotFoundError) as error:
                self._let_go()
                if attempt == TRIES - 1 or not isinstance(error, BROKEN):
                    raise OSError(f"{self._key} broke off at byte {self._position}") from error
                time.sleep(PAUSE_SECONDS * 2**attempt)
        raise AssertionError("unreachable")

    def readall(self) -> bytes:
        """Not by 8 KB, as inherited."""
        return b"".join(iter(lambda: self.read(BLOCK_BYTES), b""))

    def close(self) -> None:
        self._let_go()
        super().close()

    def _ask(self) -> None:
        with _missing(self._key):
            answer = self._bucket.client.get_object(**self._bucket.full(self._key), **self._range(), **self._only_if)
        self._body = answer["Body"]
        self._only_if = {"IfMatch": answer["ETag"]}
        self._end = self._position + answer["ContentLength"]

    def _range(self) -> dict[str, str]:
        if not self._position and self._end is None:
            return {}  # an empty object has no range that one could ask for
        last = "" if self._end is None else self._end - 1
        return {"Range": f"bytes={self._position}-{last}"}

    def _let_go(self) -> None:
        """A connection with bytes still to come is of no further use."""
        if self._body is not None:
            self._body.close()
            self._body = None


class _Assembly:
    """An object that is made of parts: large sources are copied by the server, small ones collected to a part."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket = bucket
        begun = bucket.client.create_multipart_upload(**bucket.full(key), **bucket.get_object_parameters(key))
        self._named = bucket.full(key) | {"UploadId": begun["UploadId"]}
        self._parts: list[dict[str, Any]] = []
        self._collected = bytearray()

    def add(self, source: Source) -> None:
        """What was collected is first filled up to a part's least size, from the source's beginning."""
        needed = max(LEAST_PART_BYTES - len(self._collected), 0) if self._collected else 0
        split = needed if source.length - needed >= LEAST_PART_BYTES else source.length
        self._collect(source.key, split)
        if split < source.length:
            self._send()
            self._copy(source, split)

    def complete(self) -> None:
        self._send()
        self._bucket.client.complete_multipart_upload(**self._named, MultipartUpload={"Parts": self._parts})

    def abort(self) -> None:
        self._bucket.client.abort_multipart_upload(**self._named)

    def _collect(self, key: str, length: int) -> None:
        if not length:
            return
        got = 0
        with closing(Stream(self._bucket, key, 0, length)) as stream:
            while block := stream.read(BLOCK_BYTES):
                got += len(block)
                self._collected += block
                if len(self._collected) >= PART_BYTES:
                    self._send()
        if got != length:
            raise OSError(f"{key} has {got} bytes instead of {length}")

    def _send(self) -> None:
        if self._collected:
            number, self._collected, body = len(self._parts) + 1, bytearray(), self._collected
            sent = self._bucket.client.upload_part(**self._named, PartNumber=number, Body=body)
            self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})

    def _copy(self, source: Source, start: int) -> None:
        number = len(self._parts) + 1
        with _missing(source.key):
            copied = self._bucket.client.upload_part_copy(
                **self._named,
                PartNumber=number,
                CopySource=self._bucket.full(source.key),
                CopySourceRange=f"bytes={start}-{source.length - 1}",
            )
        self._parts.append({"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]})


@contextmanager
def _assembly(bucket: Bucket, key: str) -> Iterator[_Assembly]:
    """Completed at the end; dropped when something fails."""
    assembly = _Assembly(bucket, key)
    try:
        yield assembly
        assembly.complete()
    except BaseException:
        with suppress(BotoCoreError, ClientError):  # then the purge drops it
            assembly.abort()
        raise


def _whole(data: bytes, length: int) -> bytes:
    if len(data) != length:
        raise OSError(f"{len(data)} bytes instead of {length}")
    return data


@contextmanager
def _missing(key: str) -> Iterator[None]:
    """Tells an object that is not there from every other failure, a missing bucket's included."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] in NO_SUCH_OBJECT:
            raise FileNotFoundError(key) from error
        raise


def _config(addressing_style: str) -> Config:
    """Time-outs within which a client of ours still waits, and checksums only where S3 insists.

    Many servers that speak S3 do not know the newer checksums; a body is signed in any case, so none is stored that was
    not received as it was sent.
    """
    return Config(
        signature_version="s3v4",
        s3={"addressing_style": addressing_style},
        retries={"mode": "standard", "total_max_attempts": 3},
        connect_timeout=3,
        read_timeout=30,
        tcp_keepalive=True,
        max_pool_connections=CONNECTIONS,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def _in_one_thread() -> TransferConfig:
    """A process has threads enough; ten more for each transfer would hold ten parts in memory."""
    return TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, use_threads=False)
