"""The first answers of a batch beside their questions, and its errors by code: read from bounded pieces of files."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from apps.api.errors import StorageError
from apps.batches import journal
from apps.batches.models import Batch, Chunk
from apps.batches.pipeline.parts import ERROR, OUTPUT
from apps.batches.states import ChunkState
from apps.files import storage
from apps.files.models import File

MOST_SAMPLES = 5
MOST_EXAMPLES = 3
MOST_CHUNKS = 5
WINDOW_BYTES = 256 * 1024
ERROR_BYTES = 4 * 1024 * 1024
SHOWN_CHARACTERS = 2_000


class Sample(NamedTuple):
    """One line that succeeded; the question is None if it lies outside of what was read, or the input is gone."""

    custom_id: str
    question: str | None
    answer: str


@dataclass
class Failures:
    """Lines that failed with one code."""

    code: str
    count: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)


class FailureReport(NamedTuple):
    """The commonest code first; `is_whole` is False when the error file was too long to read all of it."""

    groups: list[Failures]
    seen: int
    is_whole: bool


class Piece(NamedTuple):
    """Lines of a result file, and the byte range of the input in which their questions are looked for."""

    lines: list[bytes]
    start: int
    end: int


def first(batch: Batch) -> list[Sample]:
    """The first few answers there are, also while the batch runs."""
    found: list[Sample] = []
    for piece in _pieces(batch):
        answers = [row for text in piece.lines if (row := _parsed(text))][: MOST_SAMPLES - len(found)]
        questions = _questions(batch, piece, {str(row.get("custom_id")) for row in answers})
        for row in answers:
            custom_id = str(row.get("custom_id"))
            found.append(Sample(custom_id, questions.get(custom_id), _answer(row)))
        if len(found) >= MOST_SAMPLES:
            break
    return found


def failures(batch: Batch) -> FailureReport:
    """Errors by code, with examples; of a batch that runs, those that its first chunks have told so far."""
    groups: dict[str, Failures] = {}
    seen: Counter[str] = Counter()
    lines, is_whole = _error_lines(batch)
    for text in lines:
        row = _parsed(text) or {}
        error = row.get("error") or {}
        code = str(error.get("code"))
        seen[code] += 1
        group = groups.setdefault(code, Failures(code))
        if len(group.examples) < MOST_EXAMPLES:
            group.examples.append((_cut(str(row.get("custom_id"))), _cut(str(error.get("message")))))
    for code, group in groups.items():
        group.count = seen[code]
    return FailureReport(sorted(groups.values(), key=lambda group: -group.count), seen.total(), is_whole)


def _pieces(batch: Batch) -> Iterator[Piece]:
    if batch.output_file_id:
        if output := _live(batch.output_file_id):
            yield Piece(_head(output.object_key, output.bytes, WINDOW_BYTES), 0, batch.input_file.bytes)
        return
    for chunk in _begun(batch):
        if lines := _chunk_lines(batch, chunk, OUTPUT):
            yield Piece(lines, chunk.start, chunk.end)


def _error_lines(batch: Batch) -> tuple[list[bytes], bool]:
    if batch.error_file_id:
        errors = _live(batch.error_file_id)
        if errors is None:
            return [], False
        return _head(errors.object_key, errors.bytes, ERROR_BYTES), errors.bytes <= ERROR_BYTES
    chunks = [] if batch.is_terminal else _begun(batch)
    return [line for chunk in chunks for line in _chunk_lines(batch, chunk, ERROR)], batch.is_terminal


def _begun(batch: Batch) -> list[Chunk]:
    """The first chunks that may have results; none once the batch has ended."""
    begun = Chunk.objects.filter(batch=batch).exclude(state=ChunkState.PENDING, epoch=0)
    return [] if batch.is_terminal else list(begun.order_by("index")[:MOST_CHUNKS])


def _chunk_lines(batch: Batch, chunk: Chunk, kind: str) -> list[bytes]:
    if chunk.state != ChunkState.DONE:
        return [entry.text for entry in journal.first(chunk.pk) if entry.kind == kind]
    length = chunk.output_bytes if kind == OUTPUT else chunk.error_bytes
    return _head(storage.part_key(batch.pk, chunk.index, chunk.epoch, kind), length, WINDOW_BYTES)


def _questions(batch: Batch, piece: Piece, wanted: set[str]) -> dict[str, str]:
    if not wanted or not (stored := _live(batch.input_file_id)):
        return {}
    rows = (_parsed(text) for text in _head(stored.object_key, piece.end, WINDOW_BYTES, start=piece.start))
    return {row["custom_id"]: _question(row) for row in rows if row and row.get("custom_id") in wanted}


def _head(key: str, end: int, most: int, *, start: int = 0) -> list[bytes]:
    """The whole lines among the first `most` bytes of [start, end); none if the object is not there any more."""
    stop = min(end, start + most)
    if stop <= start:
        return []
    try:
        lines = storage.read_range(key, start, stop).split(b"\n")
    except (StorageError, FileNotFoundError):
        return []
    return [line for line in (lines if stop == end else lines[:-1]) if line.strip()]


def _live(file_id: str) -> File | None:
    return File.objects.live().filter(pk=file_id).first()


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        row = orjson.loads(text)
    except orjson.JSONDecodeError:  # an answer of the upstream's that only looser readers take
        return None
    return row if isinstance(row, dict) else None


def _question(row: dict[str, Any]) -> str:
    """The last user message, or whatever other endpoints are asked with."""
    body = row.get("body") or {}
    messages = body.get("messages")
    if not isinstance(messages, list):
        return _shown(body.get("input", body.get("prompt", "")))
    asked = [m.get("content") for m in messages if isinstance(m, dict) and m.get("role") == "user"]
    return _shown(asked[-1]) if asked else ""


def _answer(row: dict[str, Any]) -> str:
    body: Any = (row.get("response") or {}).get("body")
    try:
        choice = body["choices"][0]
        message = choice.get("message") or {"content": choice.get("text")}
        return _shown(message.get("content") or message.get("tool_calls") or message)
    except (KeyError, IndexError, TypeError, AttributeError):
        return _shown(body)


def _shown(content: Any) -> str:
    """Text as it is, the texts of a message in parts, and anything else as JSON."""
    if isinstance(content, list):
        texts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
        content = "\n".join(texts) or content
    return _cut(content if isinstance(content, str) else orjson.dumps(content).decode())


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
