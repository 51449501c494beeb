"""Misconfiguration that would be dangerous is refused at start, with an id and a hint."""

import re
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.management.base import BaseCommand, SystemCheckError

HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
ENDPOINT = re.compile(r"/v1/[A-Za-z0-9/_.-]+")
LEAST_PASSWORD = 12
"""Characters."""


@register
def secret_key_is_set(**_: Any) -> list[CheckMessage]:
    """zerobatch.E001: outside DEBUG the process needs a SECRET_KEY of its own."""
    if settings.DEBUG or settings.SECRET_KEY != settings.INSECURE_SECRET_KEY:
        return []
    hint = "Set SECRET_KEY, or SECRET_KEY_FILE, to a long random text. `make up` does it for you."
    return [Error("SECRET_KEY is not set", hint=hint, id="zerobatch.E001")]


@register
def failpoints_are_off(**_: Any) -> list[CheckMessage]:
    """zerobatch.E002: outside DEBUG nobody may make processes kill themselves."""
    if settings.DEBUG or not settings.FAILPOINTS_DIR:
        return []
    hint = "Unset FAILPOINTS_DIR: it is for the drills in tests/acceptance."
    return [Error("FAILPOINTS_DIR is set", hint=hint, id="zerobatch.E002")]


@register
def tls_can_be_seen(**_: Any) -> list[CheckMessage]:
    """zerobatch.E005: every request comes in by plain HTTP, so without the proxy's header a redirect never ends."""
    if not settings.SECURE_SSL_REDIRECT or settings.PROXY_SSL_HEADER:
        return []
    hint = "Set PROXY_SSL_HEADER to the header in which your proxy says https, such as X-Forwarded-Proto."
    return [Error("SSL_REDIRECT is on, and PROXY_SSL_HEADER is not set", hint=hint, id="zerobatch.E005")]


@register
def proxy_header_is_one(**_: Any) -> list[CheckMessage]:
    """zerobatch.E006: the header's name, not Django's, nor a pair."""
    if not settings.PROXY_SSL_HEADER or HEADER_NAME.fullmatch(settings.PROXY_SSL_HEADER):
        return []
    hint = "Give the header's name alone, such as X-Forwarded-Proto. Its value for TLS must be https."
    return [Error("PROXY_SSL_HEADER is not the name of a header", hint=hint, id="zerobatch.E006")]


@register
def endpoints_are_paths(**_: Any) -> list[CheckMessage]:
    """zerobatch.E007: lines name an endpoint by its path, and the upstream is asked at that path."""
    odd = [path for path in settings.ALLOWED_ENDPOINTS if not ENDPOINT.fullmatch(path)]
    if settings.ALLOWED_ENDPOINTS and not odd:
        return []
    hint = "Give paths such as /v1/chat/completions,/v1/embeddings."
    return [
        Error(f"ALLOWED_ENDPOINTS cannot be used: {', '.join(odd) or 'it is empty'}", hint=hint, id="zerobatch.E007")
    ]


@register
def limits_fit_into_each_other(**_: Any) -> list[CheckMessage]:
    """zerobatch.E008: or no input could ever be valid."""
    if min(settings.MAX_BATCH_BYTES, settings.MAX_UPLOAD_BYTES) >= settings.MAX_LINE_BYTES:
        return []
    hint = "Raise MAX_BATCH_BYTES and MAX_UPLOAD_BYTES, or lower MAX_LINE_BYTES."
    return [Error("MAX_LINE_BYTES is more than a batch or an upload may have", hint=hint, id="zerobatch.E008")]


@register
def flower_has_a_password(**_: Any) -> list[CheckMessage]:
    """zerobatch.E009: Flower shows whose batches run, so a password that can be guessed is none."""
    password, user = settings.FLOWER_PASSWORD, settings.FLOWER_USER
    if not password or (len(password) >= LEAST_PASSWORD and user and ":" not in user):
        return []
    hint = f"FLOWER_PASSWORD needs {LEAST_PASSWORD} characters or more, FLOWER_USER a name without a colon."
    return [Error("Flower's user or password cannot be used", hint=hint, id="zerobatch.E009")]


def refuse_misconfiguration(**_: Any) -> None:
    """Ends the process, with what is wrong, if a check finds an error; neither gunicorn nor Celery would ask them.

    SystemExit, because Celery only logs any other exception of a signal's receiver.
    """
    try:
        BaseCommand().check()
    except SystemCheckError as error:
        raise SystemExit(str(error)) from None
