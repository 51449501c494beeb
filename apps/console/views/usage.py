"""What the project may have, and what it has spent."""

from django.http import HttpRequest, HttpResponseBase
from django.views.decorators.http import require_safe

from apps.batches import usage as spending
from apps.batches.limit_serializers import parse_days
from apps.batches.standing import standings
from apps.console.access import Viewer
from apps.console.pages import page, show

MOST_ROWS = 1_000


@require_safe
@page
def usage(request: HttpRequest, viewer: Viewer) -> HttpResponseBase:
    """The limits, and the last 30 days by model."""
    first, last = parse_days(None, None)
    pages = spending.by_day(viewer.project, first, last)[:MOST_ROWS]
    return show(request, viewer, "usage", standings=standings(viewer.project), pages=pages)
