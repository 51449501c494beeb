"""Celery's result store, for a Redis that dies while tasks run."""

from collections.abc import Callable
from typing import Any

import structlog
from celery.backends.redis import RedisBackend
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)


class Backend(RedisBackend):
    """Lets a task end whose result cannot be stored.

    Only the chord's headers have results, and nothing rests on them: whoever runs the last chunk sends `finalize` too.
    In Celery 5.7 an exception from here leaves its thread's place in the pool occupied for good, so that a worker took
    fewer chunks after each outage of Redis.
    """

    def mark_as_done(self, task_id: str, *arguments: Any, **options: Any) -> None:
        _tolerate(task_id, super().mark_as_done, task_id, *arguments, **options)

    def mark_as_failure(self, task_id: str, *arguments: Any, **options: Any) -> None:
        _tolerate(task_id, super().mark_as_failure, task_id, *arguments, **options)


def _tolerate(task_id: str, store: Callable[..., None], *arguments: Any, **options: Any) -> None:
    try:
        store(*arguments, **options)
    except (RedisError, OperationalError) as error:
        log.warning("result not stored", task_id=task_id, cause=str(error))
