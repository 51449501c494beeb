"""API keys: made, shown once, revoked; by members only."""

from datetime import timedelta

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from apps.api.errors import ApiError, NotFound
from apps.console.access import Viewer
from apps.console.pages import page, show
from apps.projects.models import ApiKey, is_prefix

MOST_NAME_CHARACTERS = 200
LIVES = {"": "never", "30": "in 30 days", "90": "in 90 days", "365": "in a year"}
"""Days until a new key expires, and what the form calls that."""


class MembersOnly(ApiError):
    """A session that was opened with a key may look at keys and no more."""

    status = 403
    type = "authentication_error"
    code = "members_only"


@require_http_methods(["GET", "HEAD", "POST"])
@page
def keys(request: HttpRequest, viewer: Viewer) -> HttpResponseBase:
    """A new key's text is in the answer to the POST and nowhere else, so this one does not redirect."""
    secret = _create(request, viewer) if request.method == "POST" else None
    found = ApiKey.objects.filter(project=viewer.project, revoked_at=None)
    return show(request, viewer, "keys", keys=found, secret=secret, lives=LIVES.items(), now=timezone.now())


@require_POST
@page
def revoke(request: HttpRequest, viewer: Viewer, prefix: str) -> HttpResponseBase:
    _refuse_keys(viewer)
    mine = ApiKey.objects.filter(project=viewer.project, prefix=prefix, revoked_at=None)
    if not is_prefix(prefix) or not mine.update(revoked_at=timezone.now()):
        raise NotFound("There is no such key")
    messages.success(request, "The key is revoked. Batches that it submitted send no more lines.")
    return redirect("console:keys")


def _create(request: HttpRequest, viewer: Viewer) -> str:
    _refuse_keys(viewer)
    name = request.POST.get("name", "").replace("\x00", "").strip()[:MOST_NAME_CHARACTERS]
    key, secret = ApiKey.objects.create_for(viewer.project, name)
    days = request.POST.get("days", "")
    if days in LIVES and days:
        ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() + timedelta(days=int(days)))
    return secret


def _refuse_keys(viewer: Viewer) -> None:
    if not viewer.may_manage_keys:
        raise MembersOnly("Keys are made and revoked by members of the project, signed in with their user")
