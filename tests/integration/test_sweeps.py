"""What the sweeps find."""

import time
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.conf import settings
from django.utils import timezone

from apps.batches import leases, lifecycle, sweeps, tasks
from apps.batches.models import Batch, Chunk
from apps.batches.states import BatchStatus, ChunkState
from tests.conftest import Person, line
from tests.integration.conftest import new_batch
from zerobatch.routes import route
from zerobatch.schedule import BEAT_SCHEDULE

pytestmark = pytest.mark.django_db


def ago(**span: float) -> Any:
    return timezone.now() - timedelta(**span)


def found(*, idle: bool = True) -> list[int]:
    return [chunk.chunk_id for chunk in sweeps.resume(lambda _: idle).chunks]


@pytest.fixture(autouse=True)
def _has_looked_before(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = sweeps.Watch()
    watch.looked()
    monkeypatch.setattr(sweeps, "_watch", watch)


@pytest.fixture
def chunk(alice: Person) -> Chunk:
    """The only chunk of a batch whose first messages must have been sent by now."""
    batch = new_batch(alice, [line()])
    Batch.objects.update(in_progress_at=ago(minutes=1))
    return Chunk.objects.get(batch=batch)


def test_it_finds_a_batch_that_was_created_while_the_broker_was_away(chunk: Chunk) -> None:
    assert found() == [chunk.pk]
    assert found(idle=False) == [chunk.pk]


def test_it_leaves_a_batch_alone_whose_messages_may_be_on_the_way(chunk: Chunk) -> None:
    Batch.objects.update(in_progress_at=ago(seconds=2))

    assert found() == []


def test_it_leaves_a_chunk_alone_that_waits_in_a_busy_queue(chunk: Chunk) -> None:
    Chunk.objects.update(enqueued_at=ago(minutes=5))

    assert found(idle=False) == []


def test_it_finds_a_message_that_was_lost_from_an_empty_queue(chunk: Chunk) -> None:
    Chunk.objects.update(enqueued_at=ago(minutes=5))

    assert found(idle=True) == [chunk.pk]


def test_a_backlog_in_busy_queues_hides_nothing_that_was_forgotten(
    chunk: Chunk, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "MOST_AT_ONCE", 3)
    new_batch(alice, [line(f"request-{number}") for number in range(500)])
    newest = new_batch(alice, [line()])
    Batch.objects.update(in_progress_at=ago(minutes=1))
    Chunk.objects.exclude(batch=newest).update(enqueued_at=ago(minutes=1))

    assert found(idle=False) == [Chunk.objects.get(batch=newest).pk]


def test_it_finds_a_message_that_was_lost_long_ago(chunk: Chunk) -> None:
    Chunk.objects.update(enqueued_at=ago(minutes=16))

    assert found(idle=False) == [chunk.pk]


def test_it_finds_a_chunk_whose_worker_died(chunk: Chunk) -> None:
    Chunk.objects.update(enqueued_at=ago(minutes=1))
    assert leases.claim(chunk.pk)
    assert found() == [], "its lease still holds"
    Chunk.objects.update(lease_expires_at=ago(seconds=1))

    assert found(idle=False) == [chunk.pk]
    assert Chunk.objects.get(pk=chunk.pk).state == ChunkState.PENDING


def test_what_was_sent_is_not_found_again(chunk: Chunk) -> None:
    sweeps.mark_sent([sweeps.PendingChunk("p", chunk.pk)])

    assert found() == []


def test_it_finds_a_batch_that_only_waits_to_be_assembled(chunk: Chunk) -> None:
    Chunk.objects.update(state=ChunkState.DONE)

    assert sweeps.resume(lambda _: True).ready == [chunk.batch_id]


def test_it_finds_a_batch_whose_assembly_was_interrupted(chunk: Chunk) -> None:
    Chunk.objects.update(state=ChunkState.DONE)
    lifecycle.move(chunk.batch_id, BatchStatus.FINALIZING)
    assert leases.claim_assembly(chunk.batch_id)
    assert sweeps.resume(lambda _: True).ready == [], "somebody is at it"
    Batch.objects.update(assembling_until=ago(seconds=1))

    assert sweeps.resume(lambda _: True).ready == [chunk.batch_id]


def test_it_leaves_ended_batches_alone(chunk: Chunk) -> None:
    Batch.objects.update(status=BatchStatus.CANCELLED)

    assert sweeps.resume(lambda _: True) == ([], [])
    assert sweeps.overdue() == []


def test_overdue_and_cancelling_batches_are_written_off(chunk: Chunk) -> None:
    assert sweeps.overdue() == []
    Batch.objects.update(expires_at=ago(seconds=1))
    assert sweeps.overdue() == [chunk.batch_id]
    Chunk.objects.update(state=ChunkState.DONE)
    assert sweeps.overdue() == []


def test_only_pending_chunks_of_running_batches_are_sent(chunk: Chunk) -> None:
    assert [pending.chunk_id for pending in sweeps.chunks_of(chunk.batch_id)] == [chunk.pk]
    Chunk.objects.update(state=ChunkState.DONE)
    assert sweeps.chunks_of(chunk.batch_id) == []


@pytest.mark.parametrize("lines", [1, 250])
def test_sending_a_batch_leaves_nothing_behind_in_the_sender(alice: Person, lines: int) -> None:
    batch = new_batch(alice, [line(str(number)) for number in range(lines)])

    tasks.start(batch.pk)

    pending: Any = tasks.run_chunk.backend
    assert not pending._pending_results.concrete
    with redis.Redis.from_url(settings.REDIS_URL) as broker:
        assert broker.pubsub_channels("celery-task-meta-*") == []


def test_a_queue_is_idle_when_redis_has_nothing_in_it() -> None:
    queue = route("batches.run_chunk", ("a project", 0))["queue"]
    with redis.Redis.from_url(settings.REDIS_URL) as broker:
        broker.delete(queue)
        assert [tasks._is_idle("a project") for _ in range(3)] == [True, True, True]
        broker.lpush(queue, "a message")
        assert tasks._is_idle("a project") is False
        broker.delete(queue)


def test_after_an_outage_the_workers_get_a_round_to_renew_their_leases(
    chunk: Chunk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "_watch", sweeps.Watch())

    def look_with_a_lease_that_is_over(now: float) -> str:
        monkeypatch.setattr(time, "monotonic", lambda: now)
        Chunk.objects.update(state=ChunkState.RUNNING, lease_expires_at=ago(seconds=1))
        found()
        return Chunk.objects.get().state

    states = [look_with_a_lease_that_is_over(now) for now in (100.0, 110.0, 170.0, 180.0)]

    assert states == ["running", "pending", "running", "pending"], "the first look, and the one after a gap, only look"


def test_no_message_of_the_schedule_expires_by_a_workers_clock() -> None:
    assert "expires" not in str(BEAT_SCHEDULE)
