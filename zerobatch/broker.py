"""Celery's broker, for a Redis that dies while tasks run."""

from typing import Any

from kombu.transport import redis
from redis.exceptions import ConnectionError as RedisConnectionError


class Channel(redis.Channel):
    """When its connection has been closed, whoever still needs it gets an error that Celery knows.

    kombu 5.7 raises AttributeError there (to acknowledge a task that ends meanwhile, and to put back the others), which
    Celery takes for the end of everything: a worker process exited whenever Redis was restarted under running tasks.
    """

    def _connparams(self, asynchronous: bool = False) -> Any:
        if self.connection is None or self.connection.client is None:
            raise RedisConnectionError("the channel's connection is closed")
        return super()._connparams(asynchronous)  # type: ignore[misc]


class Transport(redis.Transport):
    """What `CELERY_BROKER_TRANSPORT` names."""

    Channel = Channel
