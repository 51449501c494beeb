"""How an endpoint says what it takes and answers, for the API reference (OpenAPI 3.1, by drf-spectacular)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from apps.api.errors import (
    ApiError,
    InternalError,
    InvalidCredentials,
    InvalidRequest,
    MissingCredentials,
    RateLimited,
    StorageError,
    TooLarge,
    Unavailable,
)
from apps.api.parsers import MAX_BODY_BYTES

Schema = dict[str, Any]
"""A JSON Schema (draft 2020-12)."""

JSON = "application/json"
TIMESTAMP: Schema = {"type": "integer", "description": "Unix seconds"}
MAYBE_TIMESTAMP: Schema = {"type": ["integer", "null"], "description": "Unix seconds"}

COMPONENTS: dict[str, Schema] = {
    "Error": {
        "description": "What every error looks like, whatever happened.",
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "code", "param"],
                "properties": {
                    "message": {"type": "string"},
                    "type": {
                        "enum": [
                            "invalid_request_error",
                            "authentication_error",
                            "rate_limit_exceeded",
                            "insufficient_quota",
                            "internal_error",
                        ]
                    },
                    "code": {"type": ["string", "null"]},
                    "param": {"type": ["string", "null"], "description": "the member that is wrong"},
                    "line": {"type": "integer", "minimum": 1, "description": "of the input file, for bad lines"},
                    "batch_id": {"type": "string", "description": "the failed batch that lists every bad line"},
                },
            }
        },
    },
}

# What any call may answer, by status.
ALWAYS = {
    401: "No key was sent",
    403: "The key, or the project id beside it, opens nothing",
    429: "Too many requests (`Retry-After` says when to try again), or a limit of the project has no room for this",
    500: "Our fault, or the storage's",
    503: "The database cannot be reached for now; `Retry-After` says when to try again",
}
STORAGE_AWAY = StorageError()
# Of calls that take JSON.
BODY_TOO_LARGE = {413: "A body over 1 MB"}
BODY_ERRORS = (
    InvalidRequest("The request body must be a JSON object", code="invalid_json"),
    TooLarge(f"The request body exceeds {MAX_BODY_BYTES} bytes"),
)
BAD_LIMIT = InvalidRequest("limit must be a positive integer", code="invalid_limit", param="limit")
ANY_CALL = (
    MissingCredentials(),
    InvalidCredentials(),
    RateLimited("Too many requests", headers={"Retry-After": "1"}),
    InternalError(),
    Unavailable(),
)
HEADERS_OF_ERRORS: dict[str, tuple[Schema, str]] = {
    "Retry-After": ({"type": "string", "pattern": "^[0-9]+$"}, "Seconds until the next attempt makes sense."),
    "x-should-retry": ({"const": "false"}, "The SDKs need not try again."),
    "Content-Range": ({"type": "string", "pattern": r"^bytes \*/[0-9]+$"}, "How many bytes the file has."),
}

PROJECT = OpenApiParameter(
    "x-project-id",
    {"type": "string", "format": "uuid"},
    OpenApiParameter.HEADER,
    description="Optional: a key belongs to one project. Another one's id is refused.",
)
REQUEST_ID = OpenApiParameter(
    "x-request-id",
    {"type": "string", "pattern": "^req_[0-9a-f]{24}$"},
    OpenApiParameter.HEADER,
    description="Names the request in the server's logs.",
    required=True,
    response=True,
)


def ref(name: str) -> Schema:
    """The component of that name."""
    return {"$ref": f"#/components/schemas/{name}"}


def an_object(**properties: Schema) -> Schema:
    """An object that has all of these members."""
    return {"type": "object", "required": list(properties), "properties": properties}


def list_of(name: str) -> Schema:
    """A page of such objects (wire.md §4, §7)."""
    return an_object(
        object={"const": "list"},
        data={"type": "array", "items": ref(name)},
        first_id={"type": ["string", "null"]},
        last_id={"type": ["string", "null"], "description": "`after` of the next page"},
        has_more={"type": "boolean"},
    )


def query(name: str, schema: Schema, description: str) -> OpenApiParameter:
    """An optional query parameter."""
    return OpenApiParameter(name, schema, OpenApiParameter.QUERY, description=description)


def path(name: str, description: str) -> OpenApiParameter:
    """A part of the path."""
    return OpenApiParameter(
        name, {"type": "string", "pattern": "^[^/]+$"}, OpenApiParameter.PATH, description=description
    )


def header(name: str, schema: Schema, description: str, *statuses: int, required: bool = True) -> OpenApiParameter:
    """A header of the answers with these statuses."""
    return OpenApiParameter(
        name, schema, OpenApiParameter.HEADER, description=description, required=required, response=list(statuses)
    )


def operation(
    *,
    name: str,
    tags: Sequence[str],
    summary: str,
    description: str = "",
    answers: Mapping[int | tuple[int, str], tuple[Schema, str]],
    refuses: Mapping[int, str],
    errors: Sequence[ApiError] = (),
    takes: Mapping[str, Schema] | None = None,
    examples: Sequence[OpenApiExample] = (),
    parameters: Sequence[OpenApiParameter] = (),
) -> Callable[[Any], Any]:
    """Describes one method of a view.

    `answers` has schema and description by status (and media type, if it is not JSON), `refuses` the reasons for
    errors of its own beside ALWAYS, `takes` the body's schema by media type. `errors` are some that the view raises,
    at least one of each status in `refuses`: their bodies are the examples.
    """
    responses: dict[Any, Any] = {
        (key if isinstance(key, tuple) else (key, JSON)): OpenApiResponse(schema, text)
        for key, (schema, text) in answers.items()
    }
    every = (*errors, *ANY_CALL)
    for status, text in sorted({**ALWAYS, **refuses}.items()):
        bodies = [_example(error) for error in every if error.status == status]
        responses[status, JSON] = OpenApiResponse(ref("Error"), text, bodies)
    return extend_schema(
        operation_id=name,
        tags=list(tags),
        summary=summary,
        description=description or None,
        request=dict(takes) if takes else None,
        responses=responses,
        examples=list(examples),
        parameters=[*parameters, PROJECT, REQUEST_ID, *_headers_of(every)],
    )


def _example(error: ApiError) -> OpenApiExample:
    return OpenApiExample(" ".join(filter(None, (error.code, error.param))), error.body(), summary=error.message)


def _headers_of(errors: Sequence[ApiError]) -> list[OpenApiParameter]:
    """The headers that errors bring along: always there if every error of the status has it."""
    found = []
    for status in sorted({error.status for error in errors}):
        same = [error for error in errors if error.status == status]
        for name, (schema, description) in HEADERS_OF_ERRORS.items():
            if any(name in error.headers for error in same):
                always = all(name in error.headers for error in same)
                found.append(header(name, schema, description, status, required=always))
    return found
