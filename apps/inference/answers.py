"""What an upstream's answer means for the line: done, its own fault, ask again, or wait."""

import re
import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import NamedTuple

from apps.inference.documents import one_line, parse_object
from apps.inference.faults import clean, line_fault_code, read_fault
from apps.inference.results import Completed, Failed
from apps.inference.transport import Answer
from apps.inference.usage import usage_of

REQUEST_ID_LIMIT = 256
RETRY_AFTER_CAP_SECONDS = 300.0

# The code of a line whose last attempt ended so; everything else is `internal_error` (wire.md §8).
CODES_WHEN_ATTEMPTS_END = {408: "timeout", 409: "invalid_request_error", 425: "invalid_request_error"}

_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")


class Retry(NamedTuple):
    """Uses an attempt. `code` and `param` are the line's error if this was the last one; `cause` is for people."""

    cause: str
    code: str = "internal_error"
    param: str | None = None


class Busy(NamedTuple):
    """Uses no attempt. `retry_after` is in seconds, None if the upstream named no time; `throttled` means a 429."""

    cause: str
    retry_after: float | None = None
    throttled: bool = False


Verdict = Completed | Failed | Retry | Busy


def classify(answer: Answer, *, now: Callable[[], float] = time.time) -> Verdict:
    """Judge an answer by architecture.md §4. A date in `Retry-After` is measured against `now`, Unix seconds."""
    if 200 <= answer.status < 300:
        return _judge_success(answer)
    fault = read_fault(answer.body)
    if 400 <= answer.status < 500 and (code := line_fault_code(answer.status, fault)):
        return Failed(code, fault.message or f"Upstream answered {answer.status}", fault.param)
    cause = f"upstream answered {answer.status}: {fault.message or _phrase(answer.status)}"
    if answer.status in (429, 503):
        wait = retry_after(answer.headers.get("Retry-After"), now)
        return Busy(cause, wait, throttled=answer.status == 429)
    return Retry(cause, CODES_WHEN_ATTEMPTS_END.get(answer.status, "internal_error"), fault.param)


def retry_after(
    value: str | None, now: Callable[[], float] = time.time, *, most: float = RETRY_AFTER_CAP_SECONDS
) -> float | None:
    """Seconds to wait by `Retry-After`, delta-seconds or HTTP date; None if it says nothing usable."""
    if value is None:
        return None
    value = value.strip()
    seconds = float(value) if _SECONDS.fullmatch(value) else _seconds_until(value, now)
    return None if seconds is None or seconds < 0 else min(seconds, most)


def _judge_success(answer: Answer) -> Completed | Retry:
    document = parse_object(answer.body)
    if document is None:
        return Retry(f"upstream answered {answer.status} with a body that is not a JSON object")
    return Completed(answer.status, _request_id(answer), one_line(answer.body), usage_of(document))


def _request_id(answer: Answer) -> str | None:
    return clean(answer.headers.get("x-request-id", ""), REQUEST_ID_LIMIT) or None


def _seconds_until(http_date: str, now: Callable[[], float]) -> float | None:
    try:
        date = parsedate_to_datetime(http_date)
        # A zone of `-0000` parses as naive; HTTP dates are GMT.
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown status"
