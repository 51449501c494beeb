"""What every request gets: an id, an answer it can read, and leave for browsers of any origin to read it."""

from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse, HttpResponseBase, UnreadablePostError

from apps.api.ids import new_id

DRAIN_BYTES = 4 * 104_857_600
DRAIN_BLOCK = 256 * 1024

EXPOSED_HEADERS = ", ".join(
    (
        *("x-request-id", "x-incomplete", "retry-after", "content-range", "content-disposition"),
        *("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    )
)

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class RequestIdMiddleware:
    """Names each request (`x-request-id: req_…`) and binds the name to every log line it causes."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request_id = new_id("req_")
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        response = self.get_response(request)
        response["x-request-id"] = request_id
        return response


class DrainMiddleware:
    """Reads what a refused request still has to send, and drops it.

    A client sends its whole upload before it looks for an answer. Closing the connection on it would make a broken
    pipe of a clear 401 or 413. More than DRAIN_BYTES we do not listen to.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.status_code >= 400:
            _drain(request)
        return response


def _drain(request: HttpRequest) -> None:
    dropped = 0
    try:
        while dropped < DRAIN_BYTES and (block := request.read(DRAIN_BLOCK)):
            dropped += len(block)
    except UnreadablePostError:
        pass  # the client has gone; there is nobody to answer


class CrossOriginMiddleware:
    """Lets web pages of any origin call /v1 and answers their preflight with 204, without a key (wire.md §1).

    Any origin is safe here: a key travels in a header that the page must know, never in a cookie the browser adds.
    (django-cors-headers answers preflights with 200 and has no say for one path only.)
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith("/v1/"):
            return self.get_response(request)
        response = HttpResponse(status=204) if request.method == "OPTIONS" else self.get_response(request)
        response["Access-Control-Allow-Origin"] = "*"
        response["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
        if request.method == "OPTIONS":
            response["Access-Control-Allow-Methods"] = "GET, POST, DELETE, OPTIONS"
            response["Access-Control-Allow-Headers"] = request.headers.get("Access-Control-Request-Headers", "*")
            response["Access-Control-Max-Age"] = "600"
        return response
