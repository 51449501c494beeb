"""Refuses an upstream in the environment that no row could be; the messages never show the values."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ValidationError

from apps.upstreams.validators import validate_api_key, validate_base_url


@register
def base_url_is_usable(**_: Any) -> list[CheckMessage]:
    """zerobatch.E003: the URL is logged and paths are appended to it, so it holds neither password nor query."""
    return _errors(validate_base_url, settings.INFERENCE_BASE_URL.strip(), "INFERENCE_BASE_URL", "zerobatch.E003")


@register
def api_key_is_usable(**_: Any) -> list[CheckMessage]:
    """zerobatch.E004: the key goes into an HTTP header."""
    return _errors(validate_api_key, settings.INFERENCE_API_KEY.strip(), "INFERENCE_API_KEY", "zerobatch.E004")


def _errors(validate: Callable[[str], None], value: str, name: str, check_id: str) -> list[CheckMessage]:
    try:
        validate(value)
    except ValidationError as error:
        return [Error(f"{name} cannot be used", hint=" ".join(error.messages), id=check_id)]
    return []
