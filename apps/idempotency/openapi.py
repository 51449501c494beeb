"""What calls that take an Idempotency-Key say of it in the OpenAPI document."""

from drf_spectacular.utils import OpenApiParameter

from apps.idempotency.once import in_flight, invalid_key, reused

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "pattern": "^[!-~]{1,255}$"},
    OpenApiParameter.HEADER,
    description="The same request with the same key, within a day, is done once and gets the same object.",
)
ONCE = {409: "The `Idempotency-Key` was used for another request, or its first request is in flight (`Retry-After`)"}
ONCE_ERRORS = (invalid_key(), in_flight(), reused())
