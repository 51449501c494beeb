"""Celery's result store, for a Redis that dies while tasks run, and for results that nobody waits for."""

from collections.abc import Callable
from typing import Any

import structlog
from celery.backends.redis import RedisBackend
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)


class Backend(RedisBackend):
    """Lets a task end whose result cannot be stored, and never listens for one.

    Only the chord's headers have results, and nothing rests on them: whoever runs the last chunk sends `finalize` too.
    In Celery 5.7 an exception from here leaves its thread's place in the pool occupied for good, so that a worker took
    fewer chunks after each outage of Redis.
    """

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Nothing, where Celery subscribes to the result of what it sends, to be ready for who might wait.

        To unsubscribe afterwards would not do: redis-py believes it once it reads the confirmation, which nobody does,
        and subscribes to every channel there ever was when it has to connect anew.
        """

    def add_pending_result(self, result: Any, *_: Any, **__: Any) -> Any:
        """Nothing, where Celery keeps the object that would be told, 1 KB for each chunk."""
        return result

    def mark_as_done(self, task_id: str, *arguments: Any, **options: Any) -> None:
        _tolerate(task_id, super().mark_as_done, task_id, *arguments, **options)

    def mark_as_failure(self, task_id: str, *arguments: Any, **options: Any) -> None:
        _tolerate(task_id, super().mark_as_failure, task_id, *arguments, **options)


def _tolerate(task_id: str, store: Callable[..., None], *arguments: Any, **options: Any) -> None:
    try:
        store(*arguments, **options)
    except (RedisError, OperationalError) as error:
        log.warning("result not stored", task_id=task_id, cause=str(error))
