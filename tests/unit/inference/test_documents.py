"""JSON from upstreams: what counts as a whole object, and how it fits on a line."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.inference.documents import one_line, parse_object


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"a": 1}',
        b' \r\n\t{"a": 1}\n',
        b'\xef\xbb\xbf{"a": 1}',
        b'{"a": "\\ud83d"}',
        b'{"a": "\\ude00\\ud83d"}',
        b'{"a": 123456789012345678901234567890}',
        b'{"a": 1e999}',
        '{"a": "smörgås 🥪"}'.encode(),
    ],
)
def test_it_takes_every_valid_object(body: bytes) -> None:
    assert isinstance(parse_object(body), dict)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"null",
        b"[{}]",
        b'"text"',
        b'{"a": 1',
        b'{"a": 1} trailing',
        b'{"a": 1}{"b": 2}',
        b'{"a": NaN}',
        b'{"a": Infinity, "b": "\\ud83d"}',
        b'{"a": -Infinity}',
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\xbd"}',  # a surrogate in raw bytes is not UTF-8
        b'{"a": "\\ud83d \xff"}',  # the tolerant second look must not let broken UTF-8 through
        b'{"a": "raw\nnewline"}',
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": ' + b"9" * 5_000 + b', "b": "\\ud83d"}',  # Python refuses integers of 4,300 digits
        b"<html>502 Bad Gateway</html>",
    ],
)
def test_it_refuses_everything_else(body: bytes) -> None:
    assert parse_object(body) is None


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b'{"a": 1}', b'{"a": 1}'),
        (b'\xef\xbb\xbf \r\n{"a": 1}\n\n', b'{"a": 1}'),
        (b'{\n  "a": 1,\r\n  "b": "\\n"\n}', b'{   "a": 1,    "b": "\\n" }'),
        (b'{"n": 1.0e2, "n": 10000000000000000000000}', b'{"n": 1.0e2, "n": 10000000000000000000000}'),
    ],
)
def test_one_line_touches_only_white_space(body: bytes, line: bytes) -> None:
    assert one_line(body) == line


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(max_size=5), JSON, max_size=4),
    st.sampled_from([None, 2]),
    st.sampled_from([b"", b"\n", b"\r\n "]),
)
def test_a_line_means_what_the_body_meant(document: dict[str, object], indent: int | None, around: bytes) -> None:
    body = around + json.dumps(document, indent=indent, ensure_ascii=False).replace("\n", "\r\n").encode() + around
    line = one_line(body)
    assert line.splitlines() == [line]
    assert orjson.loads(line) == parse_object(body) == document


@given(st.binary())
def test_no_bytes_break_it(body: bytes) -> None:
    assert b"\n" not in one_line(body)
    document = parse_object(body)
    assert document is None or isinstance(document, dict)
