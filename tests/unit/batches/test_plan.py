"""Cutting lines into chunks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.batches.models import Chunk
from apps.batches.pipeline.plan import lines_per_chunk, plan
from apps.files.jsonl import LineIndex


def index_of(sizes: list[int], gap: int = 0) -> LineIndex:
    index, position = LineIndex(), 0
    for number, size in enumerate(sizes, start=1):
        index.add(number, position, position + size)
        position += size + gap
    return index


@pytest.mark.parametrize(("total", "expected"), [(1, 100), (10_000, 100), (20_000, 200), (50_000, 500), (90_000, 500)])
def test_small_batches_are_cut_finely(total: int, expected: int) -> None:
    assert lines_per_chunk(total) == expected


def test_fifty_thousand_lines_make_a_hundred_chunks() -> None:
    assert len(plan(index_of([1_000] * 50_000), chunk_bytes=4_000_000)) == 100


def test_a_line_over_the_chunk_size_is_a_chunk_of_its_own() -> None:
    chunks = plan(index_of([5, 500, 5]), chunk_bytes=100)
    assert [(chunk.start, chunk.end, chunk.lines) for chunk in chunks] == [(0, 5, 1), (5, 505, 1), (505, 510, 1)]


def test_nothing_makes_no_chunk() -> None:
    assert plan(LineIndex(), chunk_bytes=100) == []


@given(st.lists(st.integers(1, 300), min_size=1, max_size=600), st.integers(0, 50), st.integers(1, 5_000))
def test_chunks_cover_every_line_once_in_order(sizes: list[int], gap: int, chunk_bytes: int) -> None:
    chunks = plan(index_of(sizes, gap), chunk_bytes=chunk_bytes)

    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert sum(chunk.lines for chunk in chunks) == len(sizes)
    assert _first_lines(chunks) == [1, *_next_lines(chunks)]
    for chunk in chunks:
        assert chunk.lines == 1 or (chunk.end - chunk.start <= chunk_bytes and chunk.lines <= 100)


def _first_lines(chunks: list[Chunk]) -> list[int]:
    return [chunk.first_line for chunk in chunks]


def _next_lines(chunks: list[Chunk]) -> list[int]:
    return [chunk.first_line + chunk.lines for chunk in chunks[:-1]]
