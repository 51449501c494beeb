"""The endpoint as the wire shows it, and the requests that make and change one (wire.md §9)."""

import re
from typing import Any

from apps.api.errors import InvalidRequest
from apps.webhooks.models import MOST_NAME_CHARACTERS, EventType, WebhookEndpoint

KEEP_OLD = "keep_old_secret_active_for_24_hours"
# Control characters, and what is no character at all: half a surrogate pair.
_UNSTORABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def endpoint_json(endpoint: WebhookEndpoint) -> dict[str, Any]:
    """Without its secret. `status` and `status_reason` are extensions."""
    return {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "created_at": int(endpoint.created_at.timestamp()),
        "updated_at": int(endpoint.updated_at.timestamp()),
        "name": endpoint.name,
        "url": endpoint.url,
        "event_types": endpoint.event_types,
        "signing_secret_hint": endpoint.secret_hint,
        "status": endpoint.state.value,
        "status_reason": endpoint.state_reason,
    }


def with_secret(endpoint: WebhookEndpoint, secret: str) -> dict[str, Any]:
    """For the two answers that show it: to create and to rotate."""
    return {**endpoint_json(endpoint), "signing_secret": secret}


def parse_create(data: dict[str, Any]) -> dict[str, Any]:
    """name, url and event_types, checked but for where the URL leads. Raises InvalidRequest."""
    return {name: parse(data.get(name)) for name, parse in FIELDS.items()}


def parse_update(data: dict[str, Any]) -> dict[str, Any]:
    """Those of them that were sent. Raises InvalidRequest."""
    return {name: parse(data[name]) for name, parse in FIELDS.items() if name in data}


def parse_keep_old(data: dict[str, Any]) -> bool:
    """KEEP_OLD, false if it was not sent. Raises InvalidRequest."""
    value = data.get(KEEP_OLD, False)
    if not isinstance(value, bool):
        raise InvalidRequest(f"{KEEP_OLD} must be true or false", param=KEEP_OLD)
    return value


def parse_event_type(value: Any, param: str = "event_type") -> EventType:
    """Raises InvalidRequest, which lists those there are."""
    if not isinstance(value, str) or value not in EventType.values:
        raise InvalidRequest(f"{param} must be one of {', '.join(EventType.values)}", param=param)
    return EventType(value)


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidRequest("name is required", param="name")
    if len(value) > MOST_NAME_CHARACTERS or _UNSTORABLE.search(value):
        raise InvalidRequest(
            f"name must be at most {MOST_NAME_CHARACTERS} characters, none of them a control character", param="name"
        )
    return value


def _url(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidRequest("url is required", param="url")
    return value


def _event_types(value: Any) -> list[str]:
    if not isinstance(value, list) or not value:
        raise InvalidRequest("event_types must be a list of at least one event type", param="event_types")
    types = [parse_event_type(each, f"event_types[{position}]") for position, each in enumerate(value)]
    return [event_type.value for event_type in dict.fromkeys(types)]


FIELDS = {"name": _name, "url": _url, "event_types": _event_types}
