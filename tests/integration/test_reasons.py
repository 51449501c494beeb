"""Why a batch does not move: `status_reason` in the API and the admin."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.test import Client as Browser
from django.utils import timezone

from apps.batches import leases, lifecycle, workers
from apps.batches.models import Batch, Chunk, Worker
from apps.batches.states import BatchStatus, ChunkState, WaitingReason
from tests.conftest import Person, line
from tests.integration.conftest import new_batch


@pytest.fixture
def batch(alice: Person) -> Batch:
    return new_batch(alice, [line()])


@pytest.fixture
def _worker(db: None) -> None:
    workers.seen(Worker(name="worker-1@host"))


def reason(person: Person, batch: Batch) -> Any:
    shown = person.client.get(f"/v1/batches/{batch.pk}").json()["status_reason"]
    (listed,) = person.client.get("/v1/batches").json()["data"]
    assert listed["status_reason"] == shown
    return shown


def claim_and_beat(batch: Batch, waiting: str) -> leases.Claim:
    claim = leases.claim(Chunk.objects.get(batch=batch).pk)
    assert claim is not None
    leases.renew([leases.Beat(claim.chunk.pk, claim.epoch, 0, 0, waiting)])
    return claim


@pytest.mark.usefixtures("_worker")
def test_nobody_has_taken_it_up_yet(alice: Person, batch: Batch) -> None:
    assert reason(alice, batch) == WaitingReason.QUEUED


def test_no_worker_was_ever_seen(alice: Person, batch: Batch) -> None:
    assert reason(alice, batch) == WaitingReason.NO_WORKER


def test_the_last_worker_was_seen_too_long_ago(alice: Person, batch: Batch) -> None:
    worker = Worker(name="worker-1@host")
    workers.seen(worker)
    Worker.objects.update(seen_at=Now() - timedelta(seconds=31))
    assert reason(alice, batch) == WaitingReason.NO_WORKER

    workers.seen(worker)
    assert reason(alice, batch) == WaitingReason.QUEUED


@pytest.mark.parametrize("waiting", [WaitingReason.UPSTREAM_PAUSED, WaitingReason.UPSTREAM_BUSY, WaitingReason.QUEUED])
def test_its_worker_says_why(alice: Person, batch: Batch, waiting: str) -> None:
    claim_and_beat(batch, waiting)

    assert reason(alice, batch) == waiting


def test_one_chunk_that_moves_is_enough(alice: Person) -> None:
    batch = new_batch(alice, [line(f"request-{number}") for number in range(150)])
    held_up, moving = (leases.claim(chunk.pk) for chunk in Chunk.objects.filter(batch=batch))
    assert held_up is not None
    leases.renew([leases.Beat(held_up.chunk.pk, held_up.epoch, 0, 0, WaitingReason.UPSTREAM_BUSY)])
    assert reason(alice, batch) is None

    assert moving is not None
    leases.renew([leases.Beat(moving.chunk.pk, moving.epoch, 0, 0, WaitingReason.QUEUED)])
    assert reason(alice, batch) == WaitingReason.UPSTREAM_BUSY


@pytest.mark.usefixtures("_worker")
def test_a_chunk_that_failed_waits_for_its_next_turn(alice: Person, batch: Batch) -> None:
    leases.release(claim_and_beat(batch, ""), "StorageError: no")

    assert reason(alice, batch) == WaitingReason.RETRYING


@pytest.mark.usefixtures("_worker")
def test_a_chunk_that_an_operator_took_back_has_not_failed(alice: Person, batch: Batch) -> None:
    leases.release(claim_and_beat(batch, ""), "StorageError: no")
    leases.take_back([Chunk.objects.get().pk])

    assert reason(alice, batch) == WaitingReason.QUEUED


def test_a_dead_worker_moves_nothing(alice: Person, batch: Batch) -> None:
    claim_and_beat(batch, "")
    assert reason(alice, batch) is None
    Chunk.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))

    assert reason(alice, batch) == WaitingReason.NO_WORKER


@pytest.mark.parametrize("target", [BatchStatus.CANCELLING, BatchStatus.FINALIZING])
def test_a_batch_that_is_not_in_progress_has_none(alice: Person, batch: Batch, target: BatchStatus) -> None:
    assert lifecycle.move(batch.pk, target)

    assert reason(alice, batch) is None


def test_a_batch_whose_chunks_are_done_has_none(alice: Person, batch: Batch) -> None:
    Chunk.objects.update(state=ChunkState.DONE)

    assert reason(alice, batch) is None


def test_the_admin_says_it_in_words(batch: Batch) -> None:
    User.objects.create_superuser("root", password="secret")
    browser = Browser()
    browser.login(username="root", password="secret")
    claim_and_beat(batch, WaitingReason.UPSTREAM_PAUSED)

    assert WaitingReason.UPSTREAM_PAUSED.label in browser.get("/admin/batches/batch/").content.decode()


def test_workers_that_are_long_gone_are_forgotten(db: None) -> None:
    workers.seen(Worker(name="old"))
    Worker.objects.update(seen_at=Now() - timedelta(days=2))
    workers.seen(Worker(name="new"))

    workers.purge()

    assert [worker.name for worker in Worker.objects.all()] == ["new"]
