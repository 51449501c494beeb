"""Who looks at the console: a member of projects, or whoever holds a project's key."""

from dataclasses import dataclass, field
from typing import Any

import structlog
from django.contrib.auth import logout
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.middleware.csrf import rotate_token

from apps.api.errors import ApiError
from apps.projects import audit
from apps.projects.models import ApiKey, Project
from apps.projects.scopes import Scope

KEY, PROJECT = "console_key", "console_project"
"""What a session holds: the id of the key that opened it (never the key), or the project that its user chose."""
MOST_PROJECTS = 200
NEED_SUBMIT = {"upload", "create", "cancel", "retry", "delete"}
"""Names of paths that do what a key with the scope `submit` may do; of others, looking needs none, changing `admin`."""


@dataclass(frozen=True)
class Viewer:
    """Somebody who is signed in, and the project they look at: through a key, or as a user who may work in it."""

    project: Project
    key: ApiKey | None = None
    user: User | None = None
    projects: list[Project] = field(default_factory=list)

    @property
    def may_manage_keys(self) -> bool:
        """A key opens no further keys: one that ends soon, or is found in a log, must not make itself another."""
        return self.user is not None

    def require(self, request: HttpRequest) -> None:
        """Raises InsufficientScope if the session's key may not do this. A member may do everything."""
        if self.key is None or request.method in {"GET", "HEAD"}:
            return
        match = request.resolver_match
        self.key.require(Scope.SUBMIT if match and match.url_name in NEED_SUBMIT else Scope.ADMIN)

    @property
    def name(self) -> str:
        return self.user.get_username() if self.user else str(self.key)


class MembersOnly(ApiError):
    """A session that was opened with a key does not get here."""

    status = 403
    type = "authentication_error"
    code = "members_only"


class NoProject(Exception):
    """The user is signed in, and a member of no project that is enabled."""


def sign_in_with_key(request: HttpRequest, text: str) -> bool:
    """Opens a new session for the holder of a usable key; False for any other text."""
    key = ApiKey.objects.verify(text.strip())
    if key is None:
        return False
    logout(request)  # nothing of an earlier session is left, its id included
    request.session[KEY] = key.pk
    rotate_token(request)
    return True


def viewer_of(request: HttpRequest) -> Viewer | None:
    """Asked anew at every request: a revoked key or a membership that ended opens nothing any more.

    None when nobody is signed in; raises NoProject.
    """
    viewer = _key_holder(request) if KEY in request.session else _member(request)
    if viewer is not None:
        structlog.contextvars.bind_contextvars(project_id=str(viewer.project.pk))
        if viewer.user is not None:
            audit.acting(audit.Actor.MEMBER, viewer.user.pk)
        elif viewer.key is not None:
            audit.acting(audit.Actor.KEY, viewer.key.prefix)
    return viewer


def choose_project(request: HttpRequest, project_id: str) -> bool:
    """Has the user look at another project from now on; False if there is none of this id that they may work in."""
    if not any(str(project.pk) == project_id for project in _projects(request)):
        return False
    request.session[PROJECT] = project_id
    return True


def _key_holder(request: HttpRequest) -> Viewer | None:
    key = ApiKey.objects.usable().select_related("project").filter(pk=request.session[KEY]).first()
    if key is None:
        logout(request)
        return None
    key.stamp_last_used()
    return Viewer(key.project, key=key)


def _member(request: HttpRequest) -> Viewer | None:
    user: Any = request.user
    if not user.is_authenticated:
        return None
    projects = _projects(request)
    if not projects:
        raise NoProject
    chosen = request.session.get(PROJECT)
    project = next((project for project in projects if str(project.pk) == chosen), projects[0])
    return Viewer(project, user=user, projects=projects)


def _projects(request: HttpRequest) -> list[Project]:
    return list(Project.objects.open_to(request.user)[:MOST_PROJECTS])
