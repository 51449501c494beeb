"""The request log: one event a request, with who asked and how long it took."""

import time
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponseBase

from apps.observability import metrics

log = structlog.get_logger("zerobatch.request")


class RequestLogMiddleware:
    """Logs method, path, status and milliseconds; the request id and the project come from the log context.

    Never logs a query string, a header or a body: keys and data live there.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        started = time.perf_counter()
        response = self.get_response(request)
        seconds = time.perf_counter() - started
        method = request.method if request.method in metrics.METHODS else "other"
        metrics.HTTP_SECONDS.observe(method, f"{response.status_code // 100}xx", seconds=seconds)
        milliseconds = round(seconds * 1000, 1)
        log.info("request", method=request.method, path=request.path, status=response.status_code, ms=milliseconds)
        return response
