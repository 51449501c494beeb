"""Cuts a batch's lines into chunks: contiguous ranges that workers claim one by one."""

from collections.abc import Iterator

from apps.batches.models import Chunk
from apps.files.jsonl import LineIndex

LEAST_LINES, MOST_LINES = 100, 500
CHUNKS_WANTED = 100
"""Small batches are cut finely, to spread over workers; large ones coarsely, as each chunk has a fixed cost."""


def plan(index: LineIndex, *, chunk_bytes: int) -> list[Chunk]:
    """Unsaved chunks that together cover every line once, in order: 100 to 500 lines, at most `chunk_bytes` each.

    A single line over `chunk_bytes` is a chunk of its own.
    """
    return [
        Chunk(
            index=number,
            first_line=index.numbers[first],
            start=index.starts[first],
            end=index.ends[last],
            lines=last - first + 1,
        )
        for number, (first, last) in enumerate(_cuts(index, chunk_bytes))
    ]


def lines_per_chunk(total: int) -> int:
    return min(max(total // CHUNKS_WANTED, LEAST_LINES), MOST_LINES)


def _cuts(index: LineIndex, chunk_bytes: int) -> Iterator[tuple[int, int]]:
    """(first, last) positions of each chunk's lines, both inclusive."""
    most, first = lines_per_chunk(len(index)), 0
    for position in range(1, len(index)):
        is_full = position - first == most or index.ends[position] - index.starts[first] > chunk_bytes
        if is_full:
            yield first, position - 1
            first = position
    if len(index):
        yield first, len(index) - 1
