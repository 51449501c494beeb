"""Lines of the result files, and reading a chunk's lines as raw bytes."""

import json
from typing import Any

import msgspec
import orjson
from hypothesis import given
from hypothesis import strategies as st

from apps.batches.pipeline import send  # noqa: F401  raises the recursion limit that deep lines need
from apps.batches.pipeline.parts import error_line, output_line, parse_lines
from apps.inference.results import Completed, Failed
from apps.inference.usage import NO_USAGE

text = st.text(st.characters(exclude_categories=["Cs"]))
documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
)


def test_the_body_is_cut_out_byte_for_byte() -> None:
    body = b'{ "b":1.0, "b" :2e0,"\xe2\x80\xa8":"\\u0041" ,"a":123456789012345678901234567890}'
    data = b'{"custom_id" : "a\\u0000b", "method":"POST","body" :  %b , "url":"x"}\r\n' % body

    [(number, line)] = parse_lines(data, first_line=7)

    assert number == 7
    assert bytes(line.body) == body
    assert bytes(line.custom_id) == b'"a\\u0000b"'


def test_of_a_member_given_twice_the_last_counts_as_for_the_validation() -> None:
    data = b'{"custom_id":"a","body":{"x":1},"custom_\\u0069d":"b","b\\u006fdy":{"x":2}}'

    [(_, line)] = parse_lines(data, first_line=1)

    parsed = orjson.loads(data)
    assert orjson.loads(bytes(line.custom_id)) == parsed["custom_id"]
    assert orjson.loads(bytes(line.body)) == parsed["body"]


def test_a_thousand_levels_can_be_read() -> None:
    body = b'{"a":' + b"[" * 998 + b"]" * 998 + b"}"
    [(_, line)] = parse_lines(b'{"custom_id":"a","body":' + body + b"}", first_line=1)
    assert bytes(line.body) == body


@given(text.filter(bool), st.dictionaries(text, documents, min_size=1), st.booleans())
def test_what_the_validation_sees_is_what_is_sent(custom_id: str, body: dict[str, Any], ascii_only: bool) -> None:
    data = json.dumps({"custom_id": custom_id, "body": body}, ensure_ascii=ascii_only).encode()

    [(_, line)] = parse_lines(data, first_line=2)

    parsed = orjson.loads(data)
    assert orjson.loads(bytes(line.custom_id)) == parsed["custom_id"]
    assert orjson.loads(bytes(line.body)) == parsed["body"]


def test_an_output_line_holds_the_answer_unchanged() -> None:
    answer = Completed(200, "req_1", b'{"n":1.0,"n":2}', NO_USAGE)

    raw = output_line("batch_req_1_2", msgspec.Raw(b'"\\u0061"'), answer)

    assert raw == (
        b'{"id":"batch_req_1_2","custom_id":"\\u0061",'
        b'"response":{"status_code":200,"request_id":"req_1","body":{"n":1.0,"n":2}},"error":null}\n'
    )


def test_an_error_line_is_json_whatever_the_message() -> None:
    raw = error_line("batch_req_1_2", msgspec.Raw(b'"a"'), Failed("timeout", 'quote " and \n newline', None))

    assert raw.count(b"\n") == 1
    assert json.loads(raw) == {
        "id": "batch_req_1_2",
        "custom_id": "a",
        "response": None,
        "error": {"code": "timeout", "message": 'quote " and \n newline', "param": None},
    }
