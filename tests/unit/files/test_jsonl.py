"""Reading JSONL as a stream."""

import io

from hypothesis import given
from hypothesis import strategies as st

from apps.files.jsonl import Line, read_lines, split_lines


def read(content: bytes, limit: int = 100) -> list[Line]:
    return list(read_lines(io.BytesIO(content), max_line_bytes=limit))


def test_lines_are_numbered_and_their_ranges_join() -> None:
    assert read(b"ab\ncd") == [Line(1, b"ab", 0, 3), Line(2, b"cd", 3, 5)]


def test_blank_lines_are_counted_and_skipped() -> None:
    assert [line.number for line in read(b"\n \t\r\na\n\nb\n\n")] == [3, 5]


def test_crlf_and_a_leading_bom_are_dropped() -> None:
    assert [line.text for line in read(b"\xef\xbb\xbfa\r\nb\r\n")] == [b"a", b"b"]


def test_a_bom_elsewhere_is_content() -> None:
    assert read(b"a\n\xef\xbb\xbfb")[1].text == b"\xef\xbb\xbfb"


def test_only_lf_ends_a_line() -> None:
    content = '{"a":"\u2028\u2029\x85\x0b\x0c\x1c"}\r{}'.encode()
    assert [line.text for line in read(content)] == [content]


def test_a_long_line_has_no_text_and_the_next_one_is_whole() -> None:
    lines = read(b"x" * 1_000 + b"\nok\n" + b"y" * 101, limit=100)
    assert [(line.number, line.text) for line in lines] == [(1, None), (2, b"ok"), (3, None)]
    assert lines[1].start == 1_001


def test_the_limit_counts_neither_lf_nor_crlf() -> None:
    assert read(b"x" * 100 + b"\r\n", limit=100)[0].text == b"x" * 100
    assert read(b"\xef\xbb\xbf" + b"x" * 100 + b"\r\n", limit=100)[0].text == b"x" * 100
    assert read(b"x" * 101 + b"\n", limit=100)[0].text is None


@given(st.lists(st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"")), max_size=30), st.booleans())
def test_every_byte_belongs_to_one_line_and_a_chunk_reads_the_same(rows: list[bytes], final: bool) -> None:
    content = b"\n".join(rows) + (b"\n" if final else b"")
    lines = read(content)

    for line in lines:
        assert list(split_lines(content[line.start : line.end], line.number)) == [(line.number, line.text)]
    if lines:
        joined = content[lines[0].start : lines[-1].end]
        assert list(split_lines(joined, lines[0].number)) == [(line.number, line.text) for line in lines]
