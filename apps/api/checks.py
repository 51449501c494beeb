"""Misconfiguration that would be dangerous is refused at start, with an id and a hint."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.management.base import BaseCommand, SystemCheckError


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


def refuse_misconfiguration(**_: Any) -> None:
    """Ends the process, with what is wrong, if a check finds an error; neither gunicorn nor Celery would ask them.

    SystemExit, because Celery only logs any other exception of a signal's receiver.
    """
    try:
        BaseCommand().check()
    except SystemCheckError as error:
        raise SystemExit(str(error)) from None
