"""Can this process serve? One probe for each dependency."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import redis
import structlog
from django.conf import settings
from django.core.files.storage import default_storage
from django.db import connection

log = structlog.get_logger(__name__)


def _postgres() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _redis() -> None:
    with redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, socket_timeout=2) as client:
        client.ping()


def _storage() -> None:
    with suppress(FileNotFoundError):  # nothing has been stored yet; `exists` would take any error for a no
        default_storage.listdir("")


PROBES: dict[str, Callable[[], None]] = {"postgres": _postgres, "redis": _redis, "storage": _storage}


def check_dependencies() -> dict[str, str]:
    """Each dependency's name → `ok`, or the class of what went wrong (details go to the log, not to strangers)."""
    return {name: _outcome(name, probe) for name, probe in PROBES.items()}


def readiness() -> tuple[bool, dict[str, Any]]:
    """Whether every dependency answers, and what `/readyz` says of it."""
    dependencies = check_dependencies()
    ready = all(state == "ok" for state in dependencies.values())
    return ready, {"status": "ok" if ready else "unavailable", "dependencies": dependencies}


def _outcome(name: str, probe: Callable[[], None]) -> str:
    try:
        probe()
    except Exception as error:
        log.warning("dependency away", dependency=name, exc_info=True)
        return type(error).__name__
    return "ok"
