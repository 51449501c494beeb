"""The admin site: its first page is the dashboard, which keeps itself fresh."""

from functools import wraps
from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path

from apps.operations import board, troubles
from apps.projects import audit


class OperatorsSite(AdminSite):
    site_header = site_title = "ZeroBatch"
    index_title = "Operations"
    index_template = "admin/board.html"

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        return super().index(request, {**self._board(request), **(extra_context or {})})

    def board_view(self, request: HttpRequest) -> HttpResponse:
        """The dashboard's figures alone, for its script to put in the place of the old ones."""
        response = TemplateResponse(request, "admin/_board.html", self._board(request))
        response["Cache-Control"] = "no-store"
        return response

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """As Django's, and what is changed there is the operator's doing."""

        @wraps(view)
        def watched(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            audit.acting(audit.Actor.OPERATOR, request.user.pk)
            return view(request, *args, **kwargs)

        return super().admin_view(watched, cacheable)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        return [path("board/", self.admin_view(self.board_view), name="board"), *super().get_urls()]

    def _board(self, request: HttpRequest) -> dict[str, Any]:
        """Nothing for who may not see batches: other models have pages of their own."""
        if not request.user.has_perm("batches.view_batch"):
            return {"board": None}
        reading = board.read()
        return {"board": reading, "troubles": troubles.of(reading)}
