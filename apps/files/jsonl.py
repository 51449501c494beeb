"""Reads JSONL as a stream of lines, in memory that does not grow with the file."""

from array import array
from collections.abc import Iterator
from typing import NamedTuple, Protocol

BOM = b"\xef\xbb\xbf"
BLANK = b" \t\r"


class Readable(Protocol):
    def readline(self, limit: int, /) -> bytes: ...


class Line(NamedTuple):
    """One non-blank line: its 1-based number, its bytes without LF or CRLF, its byte range [start, end) in the file.

    `text` is None when the line is longer than the limit: such a line is never held in memory.
    """

    number: int
    text: bytes | None
    start: int
    end: int


class LineIndex:
    """Number and byte range of every line of an input, at 24 bytes a line."""

    def __init__(self) -> None:
        self.numbers = array("q")
        self.starts = array("q")
        self.ends = array("q")

    def __len__(self) -> int:
        return len(self.numbers)

    def add(self, number: int, start: int, end: int) -> None:
        self.numbers.append(number)
        self.starts.append(start)
        self.ends.append(end)


def read_lines(stream: Readable, *, max_line_bytes: int) -> Iterator[Line]:
    """The non-blank lines of a whole file, in order.

    wire.md §6: they end with LF or CRLF, blank ones are counted but skipped, a BOM at the start is skipped.
    `end` is where the next line starts, so consecutive lines give contiguous ranges.
    """
    number, position = 0, 0
    most = max_line_bytes + len(BOM) + 2
    while raw := stream.readline(most):
        number += 1
        start, position = position, position + len(raw)
        if len(raw) == most and not raw.endswith(b"\n"):
            position += _skip_line(stream, most)
            yield Line(number, None, start, position)
            continue
        text = _content(raw, first=number == 1)
        if text.strip(BLANK):
            yield Line(number, text if len(text) <= max_line_bytes else None, start, position)


def split_lines(data: bytes, first_line: int) -> Iterator[tuple[int, bytes]]:
    """(number, text) of each non-blank line of a byte range that starts at line `first_line`."""
    for number, raw in enumerate(data.split(b"\n"), start=first_line):
        text = _content(raw, first=number == 1)
        if text.strip(BLANK):
            yield number, text


def _content(raw: bytes, *, first: bool) -> bytes:
    if first and raw.startswith(BOM):
        raw = raw[len(BOM) :]
    return raw.removesuffix(b"\n").removesuffix(b"\r")


def _skip_line(stream: Readable, most: int) -> int:
    """Reads to the end of a line that is too long, and returns how many bytes that were."""
    skipped = 0
    while raw := stream.readline(most):
        skipped += len(raw)
        if raw.endswith(b"\n"):
            break
    return skipped
