"""The API as an OpenAPI 3.1 document, made from the views."""

from functools import lru_cache
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator

from apps.api import openapi as api
from apps.batches import openapi as batches
from apps.files import openapi as files

SCHEMAS = {**api.COMPONENTS, **files.COMPONENTS, **batches.COMPONENTS}
TAGS = [
    {"name": files.FIRST_BATCH, "description": "Four calls, from a file to its results: try them here, top to bottom."},
    {"name": files.FILES, "description": "Inputs that were uploaded, results and errors to download."},
    {"name": batches.BATCHES, "description": "What is done with them."},
]


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """The whole document; made once in a process, when it is first asked for."""
    made: dict[str, Any] = SchemaGenerator().get_schema(public=True)  # type: ignore[no-untyped-call]
    return made


def only_the_api(endpoints: list[tuple[str, str, str, Any]]) -> list[tuple[str, str, str, Any]]:
    """drf-spectacular's preprocessing hook: pages are no calls."""
    return [endpoint for endpoint in endpoints if endpoint[0].startswith("/v1/")]


def complete(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's postprocessing hook: what no single view says."""
    result["components"]["schemas"] = SCHEMAS
    result["tags"] = TAGS
    for operations in result["paths"].values():
        for operation in operations.values():
            if "requestBody" in operation:
                operation["requestBody"]["required"] = True
    return result


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
