"""The one place that turns an exception into the error envelope of wire.md §2."""

from collections.abc import Callable
from typing import Any

import structlog
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from apps.api.errors import (
    ApiError,
    InternalError,
    InvalidCredentials,
    InvalidRequest,
    MethodNotAllowed,
    MissingCredentials,
    NotFound,
    RateLimited,
    TooLarge,
    Unavailable,
)

log = structlog.get_logger(__name__)


def envelope(exception: Exception, _: dict[str, Any]) -> Response:
    """DRF's exception handler: every exception of a view becomes JSON, also those that are our own mistakes."""
    error = as_api_error(exception)
    if error.status >= 500:
        log.error("request failed", exc_info=exception)
    set_rollback()
    return Response(error.body(), status=error.status, headers=error.headers)


def as_api_error(exception: Exception) -> ApiError:
    """The ApiError that tells a client about `exception`."""
    if isinstance(exception, ApiError):
        return exception
    for kinds, translate in TRANSLATIONS:
        if isinstance(exception, kinds):
            return translate(exception)
    return InternalError()


def _bad_multipart(exception: Exception) -> ApiError:
    reason = getattr(exception, "detail", "malformed")
    return InvalidRequest(f"The multipart body could not be parsed: {reason}", code="invalid_multipart")


def _throttled(exception: Exception) -> ApiError:
    wait = int(getattr(exception, "wait", None) or 1)
    return RateLimited("Too many requests", headers={"Retry-After": str(wait)})


Kinds = type[Exception] | tuple[type[Exception], ...]

# First match wins: Django's and DRF's exceptions inherit from each other.
TRANSLATIONS: tuple[tuple[Kinds, Callable[[Exception], ApiError]], ...] = (
    ((Http404, exceptions.NotFound), lambda _: NotFound("Not found")),
    (exceptions.NotAuthenticated, lambda _: MissingCredentials()),
    ((exceptions.AuthenticationFailed, exceptions.PermissionDenied), lambda _: InvalidCredentials()),
    (exceptions.MethodNotAllowed, lambda error: MethodNotAllowed(str(getattr(error, "detail", error)))),
    (
        exceptions.UnsupportedMediaType,
        lambda _: InvalidRequest("Content-Type must be multipart/form-data", code="invalid_content_type"),
    ),
    (exceptions.ParseError, _bad_multipart),
    (exceptions.Throttled, _throttled),
    (RequestDataTooBig, lambda _: TooLarge("The request's form fields are too large")),
    (SuspiciousOperation, _bad_multipart),
    # Postgres is away, or all connections of the pool are taken for too long.
    ((OperationalError, InterfaceError), lambda _: Unavailable()),
    (exceptions.APIException, lambda error: InvalidRequest(str(getattr(error, "detail", error)))),
)
