"""How the installation is doing: figures for metrics and the admin, beside what Postgres and Redis hold."""

from datetime import timedelta
from typing import Any

import pytest
import redis
from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from apps.batches import figures, leases, lifecycle, workers
from apps.batches.models import Batch, Chunk, Worker
from apps.batches.states import BatchStatus
from tests.conftest import Person, line
from tests.integration.conftest import new_batch


def aged(batch: Batch, seconds: int, **columns: Any) -> None:
    Batch.objects.filter(pk=batch.pk).update(created_at=Now() - timedelta(seconds=seconds), **columns)


@pytest.mark.django_db
def test_an_empty_installation_has_zeros_and_no_deadline() -> None:
    assert figures.batches() == figures.BatchFigures(
        {"cancelling": 0, "finalizing": 0, "in_progress": 0, "validating": 0}, finalizing_seconds=0
    )
    assert figures.chunks_by_state() == {"pending": 0, "running": 0}
    assert figures.ages() == figures.Ages(oldest_pending=0, deadline_margin=None)
    assert figures.workers_alive() == 0


def test_batches_that_have_ended_are_in_no_figure(alice: Person) -> None:
    batch = new_batch(alice, [line()])
    Chunk.objects.filter(batch=batch).update(state="done")
    for status in (BatchStatus.FINALIZING, BatchStatus.COMPLETED):
        lifecycle.move(batch.pk, status)

    assert sum(figures.batches().by_status.values()) == 0
    assert figures.ages() == figures.Ages(0, None)


def test_unfinished_batches_are_counted_by_status(alice: Person, charlie: Person) -> None:
    new_batch(alice, [line()])
    cancelling, finalizing = new_batch(alice, [line()]), new_batch(charlie, [line()])
    lifecycle.move(cancelling.pk, BatchStatus.CANCELLING)
    lifecycle.move(finalizing.pk, BatchStatus.FINALIZING)
    Batch.objects.filter(pk=finalizing.pk).update(finalizing_at=Now() - timedelta(seconds=70))

    found = figures.batches()

    assert found.by_status == {"cancelling": 1, "finalizing": 1, "in_progress": 1, "validating": 0}
    assert 70 <= found.finalizing_seconds < 100


def test_chunks_are_counted_by_state(alice: Person) -> None:
    batch = new_batch(alice, [line(str(number)) for number in range(201)])
    first = Chunk.objects.filter(batch=batch).order_by("index")[0]
    assert leases.claim(first.pk)

    assert figures.chunks_by_state() == {"pending": Chunk.objects.filter(batch=batch).count() - 1, "running": 1}


def test_a_backlog_too_long_to_count_is_estimated(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = new_batch(alice, [line(str(number)) for number in range(301)])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE batches_chunk")
    monkeypatch.setattr(figures, "MOST_COUNTED", 2)

    assert figures.chunks_by_state()["pending"] == Chunk.objects.filter(batch=batch).count() > 2


def test_the_oldest_batch_with_a_pending_chunk_counts_whosever_it_is(alice: Person, charlie: Person) -> None:
    young, old, running = new_batch(alice, [line()]), new_batch(charlie, [line()]), new_batch(charlie, [line()])
    aged(young, 10)
    aged(old, 100)
    aged(running, 1000)
    assert leases.claim(Chunk.objects.get(batch=running).pk)

    assert 100 <= figures.ages().oldest_pending < 130


def test_the_deadline_margin_is_that_of_the_oldest_unfinished_batch(alice: Person, charlie: Person) -> None:
    new_batch(alice, [line()])
    due = new_batch(charlie, [line()])
    aged(due, 90_000, expires_at=Now() - timedelta(seconds=50))

    margin = figures.ages().deadline_margin

    assert margin is not None
    assert -80 < margin <= -50


@pytest.mark.django_db
def test_only_workers_seen_of_late_are_alive() -> None:
    workers.seen(Worker(name="worker-1@host"))
    workers.seen(Worker(name="worker-2@host"))
    Worker.objects.filter(name="worker-2@host").update(seen_at=Now() - timedelta(seconds=31))

    assert figures.workers_alive() == 1


def test_messages_are_counted_by_queue() -> None:
    with redis.Redis.from_url(settings.REDIS_URL) as broker:
        broker.delete(*figures.queues())
        broker.rpush("chunks.3", "a", "b")
        try:
            depths = figures.queue_depths()
        finally:
            broker.delete("chunks.3")

    assert depths == {name: 2 if name == "chunks.3" else 0 for name in figures.queues()}
