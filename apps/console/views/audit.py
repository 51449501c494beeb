"""Who changed what in the project; for its members."""

from django.http import HttpRequest, HttpResponseBase
from django.views.decorators.http import require_safe

from apps.console.access import MembersOnly, Viewer
from apps.console.pages import page, show
from apps.projects import audit as changes
from apps.projects.audit import Actor, AuditEntry

MOST_ENTRIES = 200


@require_safe
@page
def audit(request: HttpRequest, viewer: Viewer) -> HttpResponseBase:
    """The latest entries. Members have names here; who runs the service has none."""
    if viewer.user is None:
        raise MembersOnly("The audit log is for members of the project, signed in with their user")
    found = list(AuditEntry.objects.filter(project_id=viewer.project.pk).order_by("-id")[:MOST_ENTRIES])
    changes.tell_names(found, {Actor.MEMBER})
    return show(request, viewer, "audit", entries=found, most=MOST_ENTRIES)
