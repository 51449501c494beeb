"""Who is asking: the headers of wire.md §1."""

import uuid
from typing import Any

import structlog
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from apps.api.errors import InvalidCredentials, MissingCredentials
from apps.projects import audit
from apps.projects.models import ApiKey, Project


class ProjectUser:
    """DRF's `request.user`: a project that proved itself with a key."""

    is_authenticated = True

    def __init__(self, project: Project) -> None:
        self.project = project


class ApiKeyAuthentication(BaseAuthentication):
    """`x-api-key`, or `Authorization: Bearer` when there is none; `x-project-id` must agree when sent.

    Raises MissingCredentials (401) and InvalidCredentials (403). The causes of the latter look alike to the caller.
    """

    def authenticate(self, request: Request) -> tuple[ProjectUser, ApiKey]:
        key = ApiKey.objects.verify(_sent_key(request))
        if key is None or not _agrees(request.headers.get("x-project-id"), key.project):
            raise InvalidCredentials
        key.stamp_last_used()
        structlog.contextvars.bind_contextvars(project_id=str(key.project_id))
        audit.acting(audit.Actor.KEY, key.prefix)
        return ProjectUser(key.project), key


def project_of(request: Request) -> Project:
    """The project that asks; only for authenticated requests."""
    user: Any = request.user
    project: Project = user.project
    return project


def _sent_key(request: Request) -> str:
    if key := request.headers.get("x-api-key", ""):
        return key.strip()
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not bearer.strip():
        raise MissingCredentials
    return bearer.strip()


def _agrees(project_id: str | None, project: Project) -> bool:
    if project_id is None:
        return True
    try:
        return uuid.UUID(project_id) == project.id
    except ValueError:
        return False
