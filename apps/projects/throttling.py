"""Requests per minute: every web process counts in Redis, so that a project has one limit however many there are."""

import math
import time
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import limits.storage
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from limits import RateLimitItemPerMinute
from limits.strategies import MovingWindowRateLimiter
from redis import RedisError
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from apps.observability import metrics
from apps.observability.outage import Outage
from apps.projects.authentication import project_of
from apps.projects.limits import Limit, most
from apps.projects.models import Project

GIVE_UP_SECONDS = 0.5
"""A request does not wait longer for Redis, and is then let through: a limit is not worth an outage."""
WINDOW_SECONDS = 60

_outage = Outage("requests per minute in Redis")


class Window(NamedTuple):
    """How a project stands: `reset_seconds` until the oldest request of the last minute counts no more."""

    limit: int
    remaining: int
    reset_seconds: int

    def headers(self) -> dict[str, str]:
        """OpenAI's names, and its way to write a duration."""
        return {
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(self.remaining),
            "x-ratelimit-reset-requests": f"{self.reset_seconds}s",
        }


class RequestsPerMinute(BaseThrottle):
    """Refuses a request (429 `rate_limit_exceeded`) if its project made as many as it may in the last 60 seconds.

    A refused one does not count. What the answer's headers say is left for RateLimitHeadersMiddleware.
    """

    def __init__(self) -> None:
        self._wait = 1

    def allow_request(self, request: Request, _: Any) -> bool:
        project = project_of(request)
        allowed = most(project, Limit.REQUESTS_PER_MINUTE)
        if allowed is None:
            return True
        try:
            is_allowed, window = _hit(project, allowed)
        except RedisError:
            _outage.failed()
            return True
        _outage.worked()
        vars(request._request)["rate_limit"] = window  # for the middleware
        if not is_allowed:
            self._wait = max(window.reset_seconds, 1)
            metrics.LIMIT_REFUSALS.add(Limit.REQUESTS_PER_MINUTE.value)
        return is_allowed

    def wait(self) -> float:
        return self._wait


class RateLimitHeadersMiddleware:
    """Tells how many requests are left, on every answer to a project that has a limit."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        window: Window | None = getattr(request, "rate_limit", None)
        for name, value in window.headers().items() if window else ():
            response[name] = value
        return response


def used(project: Project) -> int | None:
    """Requests in the last minute; None without a limit, or while Redis is away: then nobody counts."""
    allowed = most(project, Limit.REQUESTS_PER_MINUTE)
    if allowed is None:
        return None
    try:
        return allowed - _window(project, allowed).remaining
    except RedisError:
        return None


def _hit(project: Project, allowed: int) -> tuple[bool, Window]:
    is_allowed = allowed > 0 and _limiter().hit(_item(allowed), str(project.pk))
    return is_allowed, _window(project, allowed)


def _window(project: Project, allowed: int) -> Window:
    stats = _limiter().get_window_stats(_item(allowed), str(project.pk))
    return Window(allowed, max(stats.remaining, 0), math.ceil(max(stats.reset_time - time.time(), 0)))


def _item(allowed: int) -> RateLimitItemPerMinute:
    # The key names the limit too: a window that is longer than a new limit would confuse it.
    return RateLimitItemPerMinute(allowed, namespace="requests")


@cache
def _limiter() -> MovingWindowRateLimiter:
    patience: dict[str, Any] = {"socket_timeout": GIVE_UP_SECONDS, "socket_connect_timeout": GIVE_UP_SECONDS}
    return MovingWindowRateLimiter(limits.storage.RedisStorage(settings.REDIS_URL, key_prefix="rate", **patience))
