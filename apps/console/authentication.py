"""Lets the console's own scripts upload with the session's cookie, under the same checks as its forms."""

from typing import Any

from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.request import Request

from apps.api.errors import MissingCredentials
from apps.console.access import NoProject, Viewer, viewer_of
from apps.projects.authentication import ProjectUser


class ConsoleAuthentication(BaseAuthentication):
    """A session and its CSRF token, in the header: the body is not read before both are known to be right.

    Only for PUT and the like: of a POST Django looks for the token in the body first.
    """

    def authenticate(self, request: Request) -> tuple[ProjectUser, Viewer]:
        django_request: Any = request._request
        try:
            viewer = viewer_of(django_request)
        except NoProject:
            viewer = None
        if viewer is None:
            raise MissingCredentials
        SessionAuthentication().enforce_csrf(request)
        viewer.require(django_request)
        return ProjectUser(viewer.project), viewer
