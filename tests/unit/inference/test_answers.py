"""The verdict on every kind of answer (architecture.md §4, wire.md §8)."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from apps.inference.answers import Busy, Retry, classify, retry_after
from apps.inference.results import Completed, Failed
from apps.inference.transport import Answer
from apps.inference.usage import NO_USAGE, Usage

NOON = 1_767_268_800.0  # Thu, 01 Jan 2026 12:00:00 GMT


def answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, CIMultiDict(fields), body)


def error(**fields: Any) -> bytes:
    return orjson.dumps({"error": fields})


def test_a_2xx_object_completes_the_line() -> None:
    body = b'{\n"usage": {"prompt_tokens": 5, "completion_tokens": 7}}\n'
    assert classify(answer(200, body, X_Request_Id="req_7")) == Completed(
        200, "req_7", b'{ "usage": {"prompt_tokens": 5, "completion_tokens": 7}}', Usage(5, 0, 7, 0, 12)
    )


def test_any_2xx_will_do() -> None:
    assert classify(answer(201, b"{}")) == Completed(201, None, b"{}", NO_USAGE)


def test_a_lone_surrogate_is_a_paid_answer() -> None:
    body = b'{"choices": ["cut \\ud83d"], "usage": {"total_tokens": 3}}'
    assert classify(answer(200, body)) == Completed(200, None, body, Usage(total_tokens=3))


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("", None), ("req_1", "req_1"), ("bad \udcff", "bad ?"), ("x" * 300, "x" * 256)],
)
def test_the_request_id_is_made_safe(sent: str, kept: str | None) -> None:
    verdict = classify(answer(200, b"{}", x_request_id=sent))
    assert isinstance(verdict, Completed)
    assert verdict.request_id == kept


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        # The line's own fault.
        (400, error(message="Bad", param="n"), Failed("invalid_request_error", "Bad", "n")),
        (400, b"", Failed("invalid_request_error", "Upstream answered 400")),
        (400, b"<html>", Failed("invalid_request_error", "Upstream answered 400")),
        (401, error(message="Who?"), Failed("authentication_error", "Who?")),
        (402, error(message="Pay"), Failed("insufficient_quota", "Pay")),
        (403, error(message="No"), Failed("authentication_error", "No")),
        (404, error(message="No model", param="model"), Failed("not_found_error", "No model", "model")),
        (413, b"", Failed("request_too_large", "Upstream answered 413")),
        (418, b"", Failed("invalid_request_error", "Upstream answered 418")),
        (422, b'{"detail": "Bad"}', Failed("invalid_request_error", "Bad")),
        (499, b"", Failed("invalid_request_error", "Upstream answered 499")),
        # The upstream says the context is too long, in three dialects and with any 4xx.
        (400, error(message="M", code="context_length_exceeded"), Failed("context_length_exceeded", "M")),
        (413, error(message="M", code="context_length_exceeded"), Failed("context_length_exceeded", "M")),
        (429, error(message="M", code="context_length_exceeded"), Failed("context_length_exceeded", "M")),
        (400, error(message="M", type="exceed_context_size_error"), Failed("context_length_exceeded", "M")),
        (
            400,
            b'{"message": "This model\'s maximum context length is 8", "code": 400}',
            Failed("context_length_exceeded", "This model's maximum context length is 8"),
        ),
        # The quota is gone: waiting will not bring it back.
        (429, error(message="Q", code="insufficient_quota"), Failed("insufficient_quota", "Q")),
        (429, error(message="Q", type="insufficient_quota"), Failed("insufficient_quota", "Q")),
        # Busy: waits, uses no attempt.
        (429, error(message="Slow"), Busy("upstream answered 429: Slow", None, throttled=True)),
        (503, b"", Busy("upstream answered 503: Service Unavailable")),
        (503, error(message="M", code="context_length_exceeded"), Busy("upstream answered 503: M")),
        # Asked again: uses an attempt.
        (408, b"", Retry("upstream answered 408: Request Timeout", "timeout")),
        (409, error(message="C", param="n"), Retry("upstream answered 409: C", "invalid_request_error", "n")),
        (425, b"", Retry("upstream answered 425: Too Early", "invalid_request_error")),
        (500, error(message="Oops"), Retry("upstream answered 500: Oops")),
        (502, b"<html>", Retry("upstream answered 502: Bad Gateway")),
        (504, b"", Retry("upstream answered 504: Gateway Timeout")),
        (599, b"", Retry("upstream answered 599: unknown status")),
        (301, b"", Retry("upstream answered 301: Moved Permanently")),
        (101, b"", Retry("upstream answered 101: Switching Protocols")),
        (200, b"not JSON", Retry("upstream answered 200 with a body that is not a JSON object")),
        (200, b"[]", Retry("upstream answered 200 with a body that is not a JSON object")),
        (204, b"", Retry("upstream answered 204 with a body that is not a JSON object")),
    ],
)
def test_other_answers(status: int, body: bytes, expected: Failed | Busy | Retry) -> None:
    verdict = classify(answer(status, body))
    assert type(verdict) is type(expected)
    assert verdict == expected


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_upstream_may_name_a_time(status: int) -> None:
    verdict = classify(answer(status, retry_after="7"))
    assert isinstance(verdict, Busy)
    assert verdict.retry_after == 7
    assert verdict.throttled == (status == 429)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        (" 7 ", 7),
        ("1.5", 1.5),
        ("300", 300),
        ("86400", 300),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1_0", None),
        ("٣", None),
        ("1e3", None),
        ("soon", None),
        ("9" * 400, None),
        ("Thu, 01 Jan 2026 12:00:20 GMT", 20),
        ("Thu, 01 Jan 2026 12:00:20 -0000", 20),
        ("Thu, 01 Jan 2026 13:00:20 +0100", 20),
        ("Fri, 02 Jan 2026 12:00:00 GMT", 300),
        ("Thu, 01 Jan 2026 11:59:59 GMT", None),
        ("Thu, 99 Jan 2026 12:00:20 GMT", None),
        ("Fri, 01 Jan 0001 00:00:00 +2300", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, lambda: NOON) == seconds


@given(st.text(max_size=40))
def test_no_retry_after_breaks_it(value: str) -> None:
    seconds = retry_after(value)
    assert seconds is None or 0 <= seconds <= 300


@given(st.integers(100, 599), st.binary(max_size=60))
def test_every_answer_gets_a_verdict_that_can_be_written(status: int, body: bytes) -> None:
    verdict = classify(answer(status, body))
    if isinstance(verdict, Failed):
        orjson.dumps(verdict._asdict())
