"""What goes into the client and what comes out: a line's request, and the three ways it can end."""

from typing import NamedTuple

from apps.inference.usage import Usage


class LineRequest(NamedTuple):
    """One line to run. `id` is the line's `batch_req_…`; `path` starts with `/v1/`; `body` is sent byte for byte.

    `model` is the one that `body` names, by which an upstream is chosen; `traceparent` is sent along if there is one.
    """

    id: str
    path: str
    body: bytes
    model: str | None = None
    traceparent: str | None = None


class Completed(NamedTuple):
    """A 2xx answer. `body` is the upstream's JSON object on one line, otherwise unchanged; `request_id` its own."""

    status_code: int
    request_id: str | None
    body: bytes
    usage: Usage


class Failed(NamedTuple):
    """The line's `error` (wire.md §8). Every string is valid Unicode; the message has at most 2,000 characters."""

    code: str
    message: str
    param: str | None = None


class Unsent(NamedTuple):
    """Halted without an answer. `last` is `rate_limit_exceeded` if the last answer was a 429, `cause` why it waited."""

    last: Failed | None = None
    cause: str | None = None


Result = Completed | Failed | Unsent
