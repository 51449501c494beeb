"""Answers outside any API view: unknown paths, bad requests, our own crashes; always the envelope."""

from typing import Any

from django.http import HttpRequest, JsonResponse

from apps.api.errors import ApiError, InternalError, InvalidCredentials, InvalidRequest, NotFound


def respond(error: ApiError) -> JsonResponse:
    return JsonResponse(error.body(), status=error.status)


def bad_request(_: HttpRequest, exception: Exception | None = None, **__: Any) -> JsonResponse:
    return respond(InvalidRequest("Bad request"))


def forbidden(_: HttpRequest, exception: Exception | None = None, **__: Any) -> JsonResponse:
    return respond(InvalidCredentials())


def not_found(request: HttpRequest, exception: Exception | None = None, **__: Any) -> JsonResponse:
    return respond(NotFound(f"Unknown path: {request.method} {request.path[:200]}"))


def server_error(_: HttpRequest, **__: Any) -> JsonResponse:
    return respond(InternalError())
