"""Whether a key may make the call that it makes (wire.md §1)."""

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from apps.projects.scopes import needed


class HasScope(BasePermission):
    """The key's scope covers the call; raises InsufficientScope (403), before anything of the body is read.

    A method that the view does not have is let through, to its 405.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        django_request: Any = request._request
        key: Any = request.auth
        if request.method and request.method in view.allowed_methods:
            key.require(needed(django_request.resolver_match.route, request.method))
        return True
