"""Sends a batch's results: of an ended one its file, until then what is committed so far (wire.md §7)."""

from collections.abc import Generator, Iterator, Sequence
from itertools import accumulate, chain
from typing import NamedTuple

import structlog
from django.http import HttpResponseBase, StreamingHttpResponse

from apps.api.errors import StorageError
from apps.batches.models import Batch, Chunk
from apps.batches.pipeline.assemble import SIZE_COLUMN
from apps.batches.states import TERMINAL, ChunkState
from apps.files import storage, uploads
from apps.files.downloads import attachment, download, let_go_of_postgres

log = structlog.get_logger(__name__)


class Part(NamedTuple):
    """What a done chunk has given, which never changes."""

    chunk: int
    epoch: int
    length: int


def results(batch: Batch, kind: str, range_header: str | None) -> HttpResponseBase:
    """The lines of one kind, as an attachment. Raises NotFound (the file is gone), StorageError, RangeNotSatisfiable.

    A batch that ended without such lines has no file: then there is nothing in it, which is no error.
    """
    if not batch.is_terminal:
        response = _stream(batch, kind, _committed(batch, kind))
        response["x-incomplete"] = "true"
        return response
    file_id = getattr(batch, f"{kind}_file_id")
    if file_id is None:
        return _stream(batch, kind, [])
    return download(uploads.find_live(batch.project, file_id), range_header)


def _committed(batch: Batch, kind: str) -> list[Part]:
    size = SIZE_COLUMN[kind]
    done = Chunk.objects.filter(batch=batch, state=ChunkState.DONE, **{f"{size}__gt": 0})
    return [Part(*row) for row in done.order_by("index").values_list("index", "epoch", size)]


def _stream(batch: Batch, kind: str, parts: Sequence[Part]) -> StreamingHttpResponse:
    blocks = _blocks(batch.pk, kind, parts)
    first = next(blocks, b"")  # here, so that a storage that is away is still an answer of its own
    headers = attachment(f"{batch.pk}.{kind}.jsonl", sum(part.length for part in parts)) | {"Accept-Ranges": "none"}
    let_go_of_postgres()
    return StreamingHttpResponse(chain([first], blocks), headers=headers)


def _blocks(batch_id: str, kind: str, parts: Sequence[Part]) -> Iterator[bytes]:
    """The parts' bytes, also when the batch ends meanwhile and they vanish.

    The final file is the parts of all chunks, joined. So where a part ends before its time, the same bytes go on in
    the final file, and the later parts are there too.
    """
    for position, part in enumerate(parts):
        sent = yield from _of_part(batch_id, kind, part)
        if sent < part.length:
            yield from _of_final_file(batch_id, kind, parts[position:], sent)
            return


def _of_part(batch_id: str, kind: str, part: Part) -> Generator[bytes, None, int]:
    """As much of a part as can be read; how many bytes that was."""
    sent = 0
    key = storage.part_key(batch_id, part.chunk, part.epoch, kind)
    try:
        with storage.storage_errors("read", key):
            for block in storage.blocks(storage.open_object(key), part.length):
                yield block
                sent += len(block)
    except (FileNotFoundError, StorageError):
        pass  # whether that is as it should be, the batch's end tells
    return sent


def _of_final_file(batch_id: str, kind: str, parts: Sequence[Part], sent: int) -> Iterator[bytes]:
    """The parts' bytes, the first `sent` of them left out. Raises StorageError if there is no such file."""
    starts = _starts(batch_id, kind)
    key = storage.result_key(batch_id, kind)
    try:
        for part in parts:
            left, start = part.length - sent, starts[part.chunk] + sent
            with storage.storage_errors("read", key):
                for block in storage.blocks(storage.open_object(key, start, start + left), left):
                    left -= len(block)
                    yield block
            if left:
                raise StorageError
            sent = 0
    except (FileNotFoundError, StorageError):
        log.warning("results broke off", batch_id=batch_id, kind=kind)
        raise StorageError from None


def _starts(batch_id: str, kind: str) -> dict[int, int]:
    """Chunk index → where its bytes begin in the final file. Raises StorageError if there is none, or nobody knows.

    An ended batch's chunks are kept for an hour: who still reads its first parts by then has to ask again.
    """
    try:
        has_ended = Batch.objects.filter(pk=batch_id, status__in=TERMINAL).exists()
        chunks = Chunk.objects.filter(batch=batch_id).order_by("index").values_list("index", SIZE_COLUMN[kind])
        sizes: dict[int, int] = dict(chunks) if has_ended else {}
    finally:
        let_go_of_postgres()
    if not sizes:
        log.error("parts are missing", batch_id=batch_id, has_ended=has_ended)
        raise StorageError
    return dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))
