"""What the reference says of /v1/webhook_endpoints and /v1/webhook_event_types (wire.md §9)."""

from drf_spectacular.utils import OpenApiExample

from apps.api.errors import Conflict, InvalidRequest, NotFound
from apps.api.openapi import (
    BAD_LIMIT,
    BODY_ERRORS,
    BODY_TOO_LARGE,
    JSON,
    TIMESTAMP,
    Schema,
    an_object,
    list_of,
    operation,
    path,
    query,
    ref,
)
from apps.webhooks.models import MOST_NAME_CHARACTERS, EndpointState, EventType
from apps.webhooks.serializers import KEEP_OLD

WEBHOOKS = "Webhooks"
ENDPOINT_ID = path("endpoint_id", "An endpoint's id, such as `we_cd9d04e1bd5d2e3eb1c6c4ee`.")
NO_ENDPOINT = {404: "There is no such endpoint: never was, deleted, or another project's"}

NOT_FOUND = NotFound("Webhook endpoint not found: we_1", code="webhook_endpoint_not_found", param="webhook_endpoint_id")
BAD_URL = InvalidRequest("The URL's host must have an address, and public ones only", code="invalid_url", param="url")
BAD_NAME = InvalidRequest("name is required", param="name")

EVENT_TYPE: Schema = {"enum": list(EventType.values)}
SECRET: Schema = {"type": "string", "pattern": "^whsec_", "description": "shown in this answer and never again"}
NAME: Schema = {"type": "string", "maxLength": MOST_NAME_CHARACTERS, "pattern": r"^[^\x00-\x1f\x7f-\x9f]+$"}
URL: Schema = {"type": "string", "format": "uri", "description": "https, and public addresses only"}
EVENT_TYPES: Schema = {"type": "array", "minItems": 1, "items": EVENT_TYPE, "description": "what is sent there"}

_ENDPOINT: dict[str, Schema] = {
    "id": {"type": "string", "pattern": "^we_"},
    "object": {"const": "webhook_endpoint"},
    "created_at": TIMESTAMP,
    "updated_at": {**TIMESTAMP, "description": "Unix seconds; of the last change to it or its secret"},
    "name": {"type": "string"},
    "url": {"type": "string"},
    "event_types": {"type": "array", "items": EVENT_TYPE},
    "signing_secret_hint": {"type": "string", "description": "the end of its secret"},
    "status": {
        "enum": [state.value for state in EndpointState],
        "description": "paused ends by itself; disabled ends with an update, or a test that succeeds",
    },
    "status_reason": {"type": ["string", "null"], "description": "why it is not active; for people, not for programs"},
}


COMPONENTS: dict[str, Schema] = {
    "WebhookEndpoint": an_object(**_ENDPOINT),
    "WebhookEndpointWithSecret": an_object(**_ENDPOINT, signing_secret=SECRET),
}

create = operation(
    name="webhooks.create",
    tags=[WEBHOOKS],
    summary="Create a webhook endpoint",
    description=(
        "From now on the project's events of these types are POSTed there, signed the Standard Webhooks way, at least "
        "once, for three days until it answers 2xx. Keep the `signing_secret`: it is shown this once."
    ),
    takes={JSON: an_object(name=NAME, url=URL, event_types=EVENT_TYPES)},
    examples=[
        OpenApiExample(
            "an endpoint",
            value={
                "name": "production",
                "url": "https://example.com/hooks",
                "event_types": ["batch.completed", "batch.failed"],
            },
            request_only=True,
        )
    ],
    answers={200: (ref("WebhookEndpointWithSecret"), "The endpoint, with its secret")},
    refuses={400: "A bad member, a URL that may not be called, or too many endpoints", **BODY_TOO_LARGE},
    errors=[
        *BODY_ERRORS,
        BAD_NAME,
        InvalidRequest("url is required", param="url"),
        InvalidRequest("event_types must be a list of at least one event type", param="event_types"),
        BAD_URL,
        InvalidRequest("A project has at most 20 webhook endpoints", code="too_many_webhook_endpoints"),
    ],
)

list_endpoints = operation(
    name="webhooks.list",
    tags=[WEBHOOKS],
    summary="List webhook endpoints",
    description="Newest first.",
    parameters=[
        query("limit", {"type": "integer", "minimum": 1, "default": 20}, "More than 100 is 100."),
        query("after", {"type": "string"}, "The id of the endpoint that the previous page ended with."),
    ],
    answers={200: (list_of("WebhookEndpoint"), "One page")},
    refuses={400: "A limit that is no positive number", 404: "There is no endpoint `after`"},
    errors=[
        BAD_LIMIT,
        NotFound("Webhook endpoint not found: we_1", code="webhook_endpoint_not_found", param="after"),
    ],
)

retrieve = operation(
    name="webhooks.retrieve",
    tags=[WEBHOOKS],
    summary="Retrieve a webhook endpoint",
    parameters=[ENDPOINT_ID],
    answers={200: (ref("WebhookEndpoint"), "The endpoint")},
    refuses=NO_ENDPOINT,
    errors=[NOT_FOUND],
)

update = operation(
    name="webhooks.update",
    tags=[WEBHOOKS],
    summary="Change a webhook endpoint",
    description="Changes what is sent. Whatever that is, a paused or disabled endpoint is active again.",
    parameters=[ENDPOINT_ID],
    takes={JSON: {"type": "object", "properties": {"name": NAME, "url": URL, "event_types": EVENT_TYPES}}},
    answers={200: (ref("WebhookEndpoint"), "The endpoint")},
    refuses={**NO_ENDPOINT, 400: "A bad member, or a URL that may not be called", **BODY_TOO_LARGE},
    errors=[NOT_FOUND, *BODY_ERRORS, BAD_NAME, BAD_URL],
)

delete = operation(
    name="webhooks.delete",
    tags=[WEBHOOKS],
    summary="Delete a webhook endpoint",
    description="Nothing more is sent to it, not even what was to be tried again.",
    parameters=[ENDPOINT_ID],
    answers={
        200: (
            an_object(id={"type": "string"}, object={"const": "webhook_endpoint.deleted"}, deleted={"const": True}),
            "It is deleted",
        )
    },
    refuses=NO_ENDPOINT,
    errors=[NOT_FOUND],
)

rotate_secret = operation(
    name="webhooks.rotate_secret",
    tags=[WEBHOOKS],
    summary="Rotate the signing secret",
    description="Keep the new `signing_secret`: it is shown this once.",
    parameters=[ENDPOINT_ID],
    takes={
        JSON: {
            "type": "object",
            "properties": {
                KEEP_OLD: {
                    "type": "boolean",
                    "default": False,
                    "description": "events then carry a signature of each for a day",
                }
            },
        }
    },
    answers={200: (ref("WebhookEndpointWithSecret"), "The endpoint, with its new secret")},
    refuses={
        **NO_ENDPOINT,
        400: "A bad member",
        409: "It was rotated at the same moment by somebody else",
        **BODY_TOO_LARGE,
    },
    errors=[
        NOT_FOUND,
        *BODY_ERRORS,
        InvalidRequest(f"{KEEP_OLD} must be true or false", param=KEEP_OLD),
        Conflict("The secret was rotated at the same moment; try again", code="secret_rotated"),
    ],
)

test = operation(
    name="webhooks.test",
    tags=[WEBHOOKS],
    summary="Send a sample event",
    description="Once, and now. An answer of 2xx makes a paused or disabled endpoint active again.",
    parameters=[ENDPOINT_ID],
    takes={JSON: an_object(event_type=EVENT_TYPE)},
    answers={
        200: (
            an_object(
                object={"const": "webhook_endpoint.test"},
                webhook_endpoint_id={"type": "string"},
                event_type=EVENT_TYPE,
                status_code={"type": "integer", "description": "what the endpoint answered"},
                success={"const": True, "description": "it answered at all"},
            ),
            "What came back",
        )
    },
    refuses={**NO_ENDPOINT, 400: "A bad member, or no answer came", **BODY_TOO_LARGE},
    errors=[
        NOT_FOUND,
        *BODY_ERRORS,
        InvalidRequest(f"event_type must be one of {', '.join(EventType.values)}", param="event_type"),
        InvalidRequest("The endpoint gave no answer: no whole answer within 15 s", code="webhook_test_failed"),
    ],
)

list_event_types = operation(
    name="webhooks.event_types.list",
    tags=[WEBHOOKS],
    summary="List event types",
    answers={
        200: (
            an_object(object={"const": "list"}, data={"type": "array", "items": EVENT_TYPE}),
            "All that an endpoint can ask for",
        )
    },
    refuses={},
)
