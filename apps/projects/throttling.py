"""The limit of a project's requests per minute, as REST framework asks for it."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from apps.observability import metrics
from apps.projects import rates
from apps.projects.authentication import project_of
from apps.projects.limits import Limit, most
from apps.projects.models import Project
from apps.projects.rates import Window

REQUESTS = "requests"


class RequestsPerMinute(BaseThrottle):
    """Refuses a request (429 `rate_limit_exceeded`) if its project made as many as it may in the last 60 seconds.

    A refused one does not count. What the answer's headers say is left for RateLimitHeadersMiddleware.
    """

    def __init__(self) -> None:
        self._wait = 1

    def allow_request(self, request: Request, _: Any) -> bool:
        project = project_of(request)
        allowed = most(project, Limit.REQUESTS_PER_MINUTE)
        counted = None if allowed is None else rates.hit(project, REQUESTS, allowed)
        if counted is None:
            return True
        is_allowed, window = counted
        vars(request._request)["rate_limit"] = window  # for the middleware
        if not is_allowed:
            self._wait = window.wait
            metrics.LIMIT_REFUSALS.add(Limit.REQUESTS_PER_MINUTE.value)
        return is_allowed

    def wait(self) -> float:
        return self._wait


class RateLimitHeadersMiddleware:
    """Tells how many requests are left, on every answer to a project that has a limit.

    The names and the way to write a duration are OpenAI's.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        window: Window | None = getattr(request, "rate_limit", None)
        if window is not None:
            response["x-ratelimit-limit-requests"] = str(window.limit)
            response["x-ratelimit-remaining-requests"] = str(window.remaining)
            response["x-ratelimit-reset-requests"] = f"{window.reset_seconds}s"
        return response


def used(project: Project) -> int | None:
    """Requests in the last minute; None without a limit, or while Redis is away: then nobody counts."""
    allowed = most(project, Limit.REQUESTS_PER_MINUTE)
    window = None if allowed is None else rates.look(project, REQUESTS, allowed)
    return None if window is None else window.limit - window.remaining
