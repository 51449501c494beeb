"""API keys: made, shown once, revoked; by members only."""

from datetime import timedelta

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from apps.api.errors import InvalidRequest, NotFound
from apps.console.access import MembersOnly, Viewer
from apps.console.pages import page, show
from apps.projects.models import ApiKey, is_prefix
from apps.projects.scopes import Scope

MOST_NAME_CHARACTERS = 200
LIVES = {"": "never", "30": "in 30 days", "90": "in 90 days", "365": "in a year"}
"""Days until a new key expires, and what the form calls that."""


@require_http_methods(["GET", "HEAD", "POST"])
@page
def keys(request: HttpRequest, viewer: Viewer) -> HttpResponseBase:
    """A new key's text is in the answer to the POST and nowhere else, so this one does not redirect."""
    secret = _create(request, viewer) if request.method == "POST" else None
    found = ApiKey.objects.filter(project=viewer.project, revoked_at=None)
    context = {"keys": found, "secret": secret, "lives": LIVES.items(), "scopes": Scope.choices[::-1]}
    return show(request, viewer, "keys", now=timezone.now(), **context)


@require_POST
@page
def revoke(request: HttpRequest, viewer: Viewer, prefix: str) -> HttpResponseBase:
    _refuse_keys(viewer)
    if not is_prefix(prefix) or not ApiKey.objects.filter(project=viewer.project, prefix=prefix).revoke():
        raise NotFound("There is no such key")
    messages.success(request, "The key is revoked. Batches that it submitted send no more lines.")
    return redirect("console:keys")


def _create(request: HttpRequest, viewer: Viewer) -> str:
    _refuse_keys(viewer)
    name = request.POST.get("name", "").replace("\x00", "").strip()[:MOST_NAME_CHARACTERS]
    scope, days = request.POST.get("scope", Scope.ADMIN), request.POST.get("days", "")
    if scope not in Scope.values:
        raise InvalidRequest(f"scope must be one of {', '.join(Scope.values)}", param="scope")
    expires_at = timezone.now() + timedelta(days=int(days)) if days in LIVES and days else None
    _, secret = ApiKey.objects.create_for(viewer.project, name, scope=Scope(scope), expires_at=expires_at)
    return secret


def _refuse_keys(viewer: Viewer) -> None:
    if not viewer.may_manage_keys:
        raise MembersOnly("Keys are made and revoked by members of the project, signed in with their user")
