"""What every page of the console has in common: who looks, and errors that people can read."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec
from urllib.parse import urlencode

import structlog
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse

from apps.api.errors import ApiError
from apps.api.exception_handler import as_api_error
from apps.console.access import NoProject, Viewer, viewer_of

log = structlog.get_logger(__name__)

P = ParamSpec("P")
Page = Callable[Concatenate[HttpRequest, Viewer, P], HttpResponseBase]
FRAGMENT = "x-console-fragment"
"""The header with which live.js asks for a part of a page."""
HEADINGS = {403: "That is not allowed", 404: "There is nothing here", 409: "That cannot be done now"}


def page(view: Page[P]) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
    """The view for whoever is signed in; others are sent to sign in, and every exception becomes a page."""

    @wraps(view)
    def shown(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        viewer = None
        try:
            viewer = viewer_of(request)
            if viewer is None:
                return _ask_to_sign_in(request)
            viewer.require(request)
            return view(request, viewer, *args, **kwargs)
        except NoProject:
            return render(request, "console/no_project.html", status=403)
        except Exception as exception:
            error = as_api_error(exception)
            if error.status >= 500:
                log.error("request failed", exc_info=exception)
            return error_page(request, error, viewer)

    return shown


def show(request: HttpRequest, viewer: Viewer, template: str, **context: Any) -> HttpResponse:
    """The page. What clients sent may hold lone surrogates, which no page can: they become question marks."""
    text = render_to_string(f"console/{template}.html", {"viewer": viewer, **context}, request)
    return HttpResponse(text.encode("utf-8", "replace"))


def error_page(request: HttpRequest, error: ApiError, viewer: Viewer | None = None) -> HttpResponse:
    """The error as people read it; its wording is the API's."""
    heading = HEADINGS.get(error.status, "That did not work")
    context = {"viewer": viewer, "heading": heading, "error": error}
    response = render(request, "console/error.html", context, status=error.status)
    for name, value in error.headers.items():
        response[name] = value
    return response


def _ask_to_sign_in(request: HttpRequest) -> HttpResponse:
    if FRAGMENT in request.headers:
        return HttpResponse(status=401)
    wanted = request.get_full_path() if request.method == "GET" else reverse("console:batches")
    return redirect(f"{reverse('console:sign_in')}?{urlencode({'next': wanted})}")
