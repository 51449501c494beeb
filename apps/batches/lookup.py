"""Where is the line with this `custom_id`? Found in the input, then in whatever has its result, for an operator."""

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple

import msgspec
import orjson
from django.conf import settings

from apps.api.ids import line_id
from apps.batches import journal
from apps.batches.models import Batch, Chunk
from apps.batches.pipeline.parts import ERROR, KINDS, OUTPUT
from apps.batches.states import ChunkState
from apps.files import storage
from apps.files.jsonl import Line, read_lines
from apps.files.models import File

MOST_RESULT_BYTES = 64 * 1024 * 1024
"""A longer result line is not read to its end."""
PLAIN = re.compile(r"[A-Za-z0-9_.:-]+")


class Found(NamedTuple):
    """One line. `error` is its error object, `status_code` its answer's; bodies are nobody's business here."""

    number: int
    line_id: str
    chunk: Chunk | None
    state: str
    status_code: int | None = None
    request_id: str | None = None
    error: dict[str, Any] | None = None


class _Named(msgspec.Struct):
    custom_id: str


class _Result(msgspec.Struct):
    class Response(msgspec.Struct):
        status_code: int
        request_id: str | None = None

    response: Response | None = None
    error: dict[str, Any] | None = None


_names = msgspec.json.Decoder(_Named)
_results = msgspec.json.Decoder(_Result)


def find(batch: Batch, custom_id: str) -> Found | None:
    """None if the input has no such line. Raises FileNotFoundError if the input is gone, StorageError.

    Reads the input once (200 MB take a fifth of a second), and of the results only where the line must be.
    """
    line = _line_of(batch, custom_id)
    if line is None:
        return None
    name = line_id(batch.pk, line.number)
    chunk = Chunk.objects.filter(batch=batch, first_line__lte=line.number).order_by("-index").first()
    for text in _results_near(batch, chunk, line.number, name):
        if text.startswith(b'{"id":"%b"' % name.encode()):
            return _with_result(Found(line.number, name, chunk, ""), text)
    return Found(line.number, name, chunk, _without_result(batch, chunk))


def _line_of(batch: Batch, custom_id: str) -> Line | None:
    """Lines that do not hold the id's longest plain part are passed over; JSON may spell it otherwise, so as a last
    resort all are decoded.
    """
    hint = max(PLAIN.findall(custom_id), key=len, default="").encode()
    for needle in (hint, b"") if hint else (b"",):
        for line in _lines(batch.input_file.object_key, settings.MAX_LINE_BYTES):
            if line.text is not None and needle in line.text and _names.decode(line.text).custom_id == custom_id:
                return line
    return None


def _lines(key: str, most_bytes: int) -> Iterator[Line]:
    with closing(storage.open_object(key)) as stream, storage.storage_errors("read", key):
        yield from read_lines(stream, max_line_bytes=most_bytes)


def _results_near(batch: Batch, chunk: Chunk | None, number: int, name: str) -> Iterator[bytes]:
    if batch.is_terminal:
        for file_id in filter(None, (batch.error_file_id, batch.output_file_id)):
            if stored := File.objects.live().filter(pk=file_id).first():
                yield from (line.text for line in _lines(stored.object_key, MOST_RESULT_BYTES) if line.text)
    elif chunk is not None and chunk.state == ChunkState.DONE:
        for kind in KINDS:
            if length := {OUTPUT: chunk.output_bytes, ERROR: chunk.error_bytes}[kind]:
                key = storage.part_key(batch.pk, chunk.index, chunk.epoch, kind)
                yield from storage.read_range(key, 0, length).split(b"\n")
    elif chunk is not None and chunk.epoch:
        yield from (entry.text for entry in journal.load(chunk.pk) if entry.number == number)


def _with_result(found: Found, text: bytes) -> Found:
    try:
        result = _results.decode(text)
    except msgspec.DecodeError:  # an answer that only looser readers take
        loose = orjson.loads(text) if text.endswith(b"}") else {}
        return found._replace(state="answered", error=loose.get("error"))
    if result.response is None:
        return found._replace(state="failed", error=result.error)
    return found._replace(
        state="answered", status_code=result.response.status_code, request_id=result.response.request_id
    )


def _without_result(batch: Batch, chunk: Chunk | None) -> str:
    if batch.is_terminal:
        return "its result is in no file that is still there"
    if chunk is None or chunk.state == ChunkState.PENDING:
        return "not sent yet: its chunk is pending"
    if chunk.state == ChunkState.DONE:
        return "has a result that cannot be found in its chunk's part"
    return "in flight, or waiting for its turn in the chunk that runs"
