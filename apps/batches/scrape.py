"""What the web process tells Prometheus of the whole installation: figures.py, kept for a few seconds."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import redis
from django.db import Error, connection, transaction

from apps.batches import figures
from apps.observability import metrics
from apps.observability.metrics import Metric
from apps.observability.outage import Outage

MOST_SECONDS = 2
"""For a question to Postgres: who only looks shall not add to its troubles."""

Answer = list[Metric]


class Kept:
    """The last answer, good for KEPT_SECONDS. Who comes while it is asked for anew waits for the same answer."""

    def __init__(self, ask: Callable[[], Answer]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._answer: Answer = []
        self._good_until = 0.0

    def __call__(self) -> Answer:
        with self._lock:
            if time.monotonic() >= self._good_until:
                self._answer = self._ask()
                self._good_until = time.monotonic() + figures.KEPT_SECONDS
            return self._answer


_postgres_outage, _redis_outage = Outage("figures from Postgres"), Outage("figures from Redis")


def _ask() -> Answer:
    postgres, redis_ = _from_postgres(), _from_redis()
    up = metrics.SOURCE_UP.of({"postgres": float(bool(postgres)), "redis": float(bool(redis_))})
    return [up, *postgres, *redis_]


def _from_postgres() -> Answer:
    """Nothing if it does not answer in time."""
    try:
        with _hasty():
            batches, ages = figures.batches(), figures.ages()
            answer = [
                metrics.BATCHES.of(batches.by_status),
                metrics.FINALIZING.of({(): batches.finalizing_seconds}),
                metrics.CHUNKS.of(figures.chunks_by_state()),
                metrics.OLDEST_PENDING.of({(): ages.oldest_pending}),
                metrics.DEADLINE_MARGIN.of({} if ages.deadline_margin is None else {(): ages.deadline_margin}),
                metrics.WORKERS.of({(): figures.workers_alive()}),
            ]
    except Error:
        _postgres_outage.failed()
        return []
    _postgres_outage.worked()
    return answer


def _from_redis() -> Answer:
    try:
        answer = [metrics.QUEUE_DEPTH.of(figures.queue_depths())]
    except redis.RedisError:
        _redis_outage.failed()
        return []
    _redis_outage.worked()
    return answer


@contextmanager
def _hasty() -> Iterator[None]:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{MOST_SECONDS}s"])
        yield


installation: Callable[[], Iterable[Metric]] = Kept(_ask)
"""A source of apps.observability.metrics."""
