"""What the web process tells Prometheus of the whole installation: figures.py, kept for a few seconds."""

from collections.abc import Callable, Iterable

import redis
from django.db import Error

from apps.batches import figures
from apps.observability import metrics
from apps.observability.looking import Kept, hasty
from apps.observability.metrics import Metric
from apps.observability.outage import Outage

Answer = list[Metric]

_postgres_outage, _redis_outage = Outage("figures from Postgres"), Outage("figures from Redis")


def _ask() -> Answer:
    postgres, redis_ = _from_postgres(), _from_redis()
    up = metrics.SOURCE_UP.of({"postgres": float(bool(postgres)), "redis": float(bool(redis_))})
    return [up, *postgres, *redis_]


def _from_postgres() -> Answer:
    """Nothing if it does not answer in time."""
    try:
        with hasty():
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


installation: Callable[[], Iterable[Metric]] = Kept(_ask, figures.KEPT_SECONDS)
"""A source of apps.observability.metrics."""
