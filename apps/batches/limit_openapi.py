"""What the reference says of /v1/limits and /v1/usage (wire.md §10)."""

from typing import Any

from apps.api.errors import InvalidRequest
from apps.api.openapi import BAD_LIMIT, Schema, an_object, operation, query, ref
from apps.batches.limit_serializers import DAYS_UNLESS_TOLD, MOST_DAYS
from apps.batches.limit_views import MOST_PAGES
from apps.batches.openapi import COUNT, TOKENS
from apps.projects.limits import Limit

LIMITS = "Limits and usage"
MAYBE_COUNT: Schema = {"type": ["integer", "null"], "minimum": 0}
DAY: Schema = {"type": "string", "format": "date"}

COMPONENTS: dict[str, Schema] = {
    "Limit": an_object(
        used={**MAYBE_COUNT, "description": "null where nobody counts: requests, while they have no limit"},
        limit={**MAYBE_COUNT, "description": "null without a limit"},
        remaining={**MAYBE_COUNT, "description": "null without a limit"},
    ),
    "Limits": an_object(
        object={"const": "limits"},
        **{limit.value: {**ref("Limit"), "description": limit.label} for limit in Limit},
    ),
    "Usage": an_object(
        object={"const": "usage"},
        date={**DAY, "description": "when the answers were stored, in UTC"},
        model={"type": ["string", "null"], "description": "as the lines name it; null for those that name none"},
        requests={**COUNT, "description": "answered lines"},
        **TOKENS,
    ),
}

retrieve: Any = operation(
    name="limits.retrieve",
    tags=[LIMITS],
    summary="Retrieve the project's limits",
    description="Each with what is used and what is left, as of now.",
    answers={200: (ref("Limits"), "All limits, also those that are not set")},
    refuses={},
)

list_usage: Any = operation(
    name="usage.list",
    tags=[LIMITS],
    summary="List usage by day and model",
    description="Answered lines and their tokens; the newest day first. A day and model without any has no row.",
    parameters=[
        query("start_date", DAY, f"The first day (UTC); {DAYS_UNLESS_TOLD} days up to `end_date` unless told."),
        query("end_date", DAY, f"The last day, included; today unless told. At most {MOST_DAYS} days in all."),
        query("limit", {"type": "integer", "minimum": 1, "default": MOST_PAGES}, "How many rows at most."),
    ],
    answers={
        200: (
            an_object(
                object={"const": "list"}, data={"type": "array", "items": ref("Usage")}, has_more={"type": "boolean"}
            ),
            "The rows; with `has_more`, ask for fewer days",
        )
    },
    refuses={400: "Not a date, or too many days"},
    errors=[InvalidRequest("start_date must be a date such as 2026-01-31", param="start_date"), BAD_LIMIT],
)
