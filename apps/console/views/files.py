"""The project's files."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from apps.api import pagination
from apps.console.access import Viewer
from apps.console.pages import page, show
from apps.files import uploads
from apps.files.downloads import download
from apps.files.models import File, Purpose

A_PAGE = 25
FILTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "": ("All", {}),
    "input": ("Inputs", {"purpose": Purpose.BATCH}),
    "results": ("Results", {"purpose": Purpose.BATCH_OUTPUT, "is_error": False}),
    "errors": ("Errors", {"purpose": Purpose.BATCH_OUTPUT, "is_error": True}),
}


@require_safe
@page
def files(request: HttpRequest, viewer: Viewer) -> HttpResponseBase:
    mine = File.objects.live().filter(project=viewer.project)
    _, kind = FILTERS.get(request.GET.get("kind", ""), FILTERS[""])
    after = uploads.find_cursor(viewer.project, request.GET.get("after"))
    found, has_more = pagination.page(mine.filter(**kind), after=after, limit=A_PAGE)
    return show(
        request,
        viewer,
        "files",
        rows=found,
        filters=[(name, label) for name, (label, _) in FILTERS.items()],
        kind=request.GET.get("kind", ""),
        after=after,
        older=found[-1].pk if has_more else None,
        endpoint=settings.ALLOWED_ENDPOINTS[0],
    )


@require_safe
@page
def content(request: HttpRequest, viewer: Viewer, file_id: str) -> HttpResponseBase:
    return download(uploads.find_live(viewer.project, file_id), request.headers.get("range"))


@require_POST
@page
def delete(request: HttpRequest, viewer: Viewer, file_id: str) -> HttpResponseBase:
    stored = uploads.find_live(viewer.project, file_id)
    uploads.delete(stored)
    messages.success(request, f"{stored.filename} is deleted.")
    return redirect("console:files")
