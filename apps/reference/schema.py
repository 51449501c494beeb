"""The API as an OpenAPI 3.1 document, made from the views.

Imported when somebody asks for the document: a process that nobody asks does not load drf-spectacular.
"""

import re
from functools import lru_cache
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema

from apps.api import openapi as api
from apps.api.errors import InsufficientScope
from apps.batches import limit_openapi as limits
from apps.batches import openapi as batches
from apps.batches.limit_views import LimitsView, UsageView
from apps.batches.views import BatchesView, BatchView, CancelView, OutputView, RetryView
from apps.files import openapi as files
from apps.files.views import (
    CancelUploadView,
    CompleteView,
    FileContentView,
    FilesView,
    FileView,
    PartsView,
    UploadsView,
)
from apps.projects import scopes
from apps.projects.scopes import Scope
from apps.webhooks import openapi as webhooks
from apps.webhooks.views import EndpointsView, EndpointView, EventTypesView, RotateSecretView, TestView

SCHEMAS = {**api.COMPONENTS, **files.COMPONENTS, **batches.COMPONENTS, **limits.COMPONENTS, **webhooks.COMPONENTS}
TAGS = [
    {"name": files.FIRST_BATCH, "description": "Four calls, from a file to its results: try them here, top to bottom."},
    {"name": files.FILES, "description": "Inputs that were uploaded, results and errors to download."},
    {"name": files.UPLOADS, "description": "Files over 100 MB, in parts."},
    {"name": batches.BATCHES, "description": "What is done with them."},
    {"name": limits.LIMITS, "description": "What a project may have, and what it has spent."},
    {"name": webhooks.WEBHOOKS, "description": "Who is told when a batch ends."},
]


# View → method → what `operation` gave.
DESCRIBED: dict[Any, dict[str, Any]] = {
    FilesView: {"POST": files.upload, "GET": files.list_files},
    FileView: {"GET": files.retrieve, "DELETE": files.delete},
    FileContentView: {"GET": files.content},
    UploadsView: {"POST": files.begin_upload},
    PartsView: {"POST": files.add_part},
    CompleteView: {"POST": files.complete_upload},
    CancelUploadView: {"POST": files.cancel_upload},
    BatchesView: {"POST": batches.create, "GET": batches.list_batches},
    BatchView: {"GET": batches.retrieve},
    CancelView: {"POST": batches.cancel},
    RetryView: {"POST": batches.retry},
    OutputView: {"GET": batches.output},
    LimitsView: {"GET": limits.retrieve},
    UsageView: {"GET": limits.list_usage},
    EndpointsView: {"POST": webhooks.create, "GET": webhooks.list_endpoints},
    EndpointView: {"GET": webhooks.retrieve, "POST": webhooks.update, "DELETE": webhooks.delete},
    RotateSecretView: {"POST": webhooks.rotate_secret},
    TestView: {"POST": webhooks.test},
    EventTypesView: {"GET": webhooks.list_event_types},
}

ROUTES = {re.sub(r"<\w+:(\w+)>", r"{\1}", f"/{route}"): route for route in scopes.NEEDS}
"""Path of the document → route."""

NEED_NO_BODY = {"webhooks.rotate_secret", "batches.retry"}
"""Calls that take a body, and nothing for one that says nothing."""


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """The whole document; made once in a process, when it is first asked for."""
    made: dict[str, Any] = Generator().get_schema(public=True)  # type: ignore[no-untyped-call]
    return made


class Generator(SchemaGenerator):
    """drf-spectacular's, but the descriptions stand beside the views instead of on them."""

    def create_view(self, callback: Any, method: str, request: Any = None) -> Any:
        """The view with its description. Raises KeyError for a call that nobody has described."""
        view = super().create_view(callback, method, request)  # type: ignore[no-untyped-call]
        described = Described()
        DESCRIBED[callback.cls][method](described)
        self._set_schema_to_view(view, described.kwargs["schema"]())  # type: ignore[no-untyped-call]
        return view


class Described:
    """Takes `extend_schema` in place of a view's method, which it would change and which needs a global setting."""

    def __init__(self) -> None:
        self.kwargs: dict[str, Any] = {"schema": AutoSchema}

    def __call__(self) -> None:
        """`extend_schema` does nothing to what cannot be called."""


def only_the_api(endpoints: list[tuple[str, str, str, Any]]) -> list[tuple[str, str, str, Any]]:
    """drf-spectacular's preprocessing hook: pages are no calls."""
    return [endpoint for endpoint in endpoints if endpoint[0].startswith("/v1/")]


def complete(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's postprocessing hook: what no single view says."""
    result["components"]["schemas"] = SCHEMAS
    result["tags"] = TAGS
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            if "requestBody" in operation:
                operation["requestBody"]["required"] = operation["operationId"] not in NEED_NO_BODY
            _say_what_it_needs(operation, scopes.needed(ROUTES.get(path, ""), method.upper()))
    return result


def _say_what_it_needs(operation: dict[str, Any], scope: Scope) -> None:
    """The key's scope, as OpenAPI 3.1 has it for keys: a role in each of the security requirements."""
    operation["security"] = [{name: [scope.value] for name in each} for each in operation["security"]]
    if scope is Scope.READ_ONLY:
        return
    operation["description"] = f"{operation.get('description', '')} Needs a key with the scope `{scope.value}`.".strip()
    error = InsufficientScope(needs=scope.value, has=Scope.READ_ONLY.value)
    refusal = operation["responses"]["403"]
    refusal["description"] = f"{refusal['description']}; or the key may not do this"
    refusal["content"][api.JSON]["examples"][error.code] = {"value": error.body(), "summary": error.message}


class ApiKeySchemes(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Two headers for one key (wire.md §1)."""

    target_class = "apps.projects.authentication.ApiKeyAuthentication"
    name = ["ApiKey", "Bearer"]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, Any]]:
        return [
            {"type": "apiKey", "in": "header", "name": "x-api-key"},
            {"type": "http", "scheme": "bearer", "description": "The same key; used when there is no `x-api-key`."},
        ]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[Any]]]:
        """Either of them will do."""
        return [{name: []} for name in self.name]
