"""The upstreams that lines may go to: the rows, or, while there are none, the one of the environment."""

from functools import lru_cache

import structlog
from django.conf import settings

from apps.inference.upstream import Upstream
from apps.upstreams import models
from apps.upstreams.encryption import Undecryptable

log = structlog.get_logger(__name__)


def load() -> list[Upstream]:
    """By name, in one query.

    Rows replace the environment's upstream, also while all are disabled: who turns the last one off wants no line sent.
    Lines wait for an upstream that is disabled, if there is no other for them. A row whose key cannot be read counts as
    disabled; it would be asked without its key, and fail every line.
    """
    rows = list(models.Upstream.objects.order_by("name"))
    return [_readable(row) for row in rows] if rows else [from_settings()]


def from_settings() -> Upstream:
    """The upstream of `INFERENCE_BASE_URL`, which serves every model. Asks no database: the event loop may call it."""
    return Upstream(
        name="default",
        base_url=settings.INFERENCE_BASE_URL,
        api_key=settings.INFERENCE_API_KEY.strip() or None,  # a secret read from a file ends in a newline
        max_in_flight=settings.INFERENCE_MAX_IN_FLIGHT,
        connect_timeout=settings.INFERENCE_CONNECT_TIMEOUT,
        read_timeout=settings.INFERENCE_READ_TIMEOUT,
        max_attempts=settings.INFERENCE_MAX_ATTEMPTS,
    )


def from_row(row: models.Upstream) -> Upstream:
    """What a row describes; raises Undecryptable."""
    return _upstream(row, row.api_key or None, enabled=row.enabled)


def _upstream(row: models.Upstream, api_key: str | None, *, enabled: bool) -> Upstream:
    return Upstream(
        name=row.name,
        base_url=row.base_url,
        api_key=api_key,
        max_in_flight=row.max_in_flight,
        connect_timeout=row.connect_timeout,
        read_timeout=row.read_timeout,
        max_attempts=settings.INFERENCE_MAX_ATTEMPTS,
        models=row.patterns,
        enabled=enabled,
    )


def _readable(row: models.Upstream) -> Upstream:
    try:
        return from_row(row)
    except Undecryptable:
        _say_unreadable(row.name, row.api_key_encrypted)
        return _upstream(row, None, enabled=False)


@lru_cache(maxsize=256)  # says it once a process for each key, not at every look
def _say_unreadable(name: str, _token: str) -> None:
    log.error(
        "upstream key unreadable",
        upstream=name,
        hint="enter the key again in the admin, or put the SECRET_KEY it was saved under into SECRET_KEY_FALLBACKS",
    )
